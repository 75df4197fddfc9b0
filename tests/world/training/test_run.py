"""A run's folder: the curve that is drawn from its log, the state that it keeps."""

import errno
from pathlib import Path

import cv2
import pytest
import torch
from roam.world.training.run import Run, StateError, has_state, read_state

draw = Run.draw  # the recipes' tests leave the curves empty


def test_a_curve_has_a_panel_for_every_column_and_passes_over_what_was_not_measured(tmp_path):
    run = Run(tmp_path)
    for step in range(3):
        run.record(step, loss=1.0 / (step + 1), judged=float("nan") if step else 2.0)
    draw(run, "loss", "judged")
    height, width = cv2.imread(str(tmp_path / "curve.png")).shape[:2]
    assert (height, width) == (330, 880)


def test_a_bit_that_flips_in_a_state_is_noticed_and_so_is_a_cut(tmp_path):
    run = Run(tmp_path)
    run.save(3, model={"a": torch.zeros(30)}, optimizers={"m": torch.ones(9)})
    path = tmp_path / "state.pt"
    whole, before = path.read_bytes(), read_state(tmp_path)
    for place in range(0, 8 * len(whole), 101):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            state = read_state(tmp_path)
        except StateError as error:
            assert "bring a copy" in str(error) and "\n" not in str(error)
        else:  # a bit between what is held
            assert state["step"] == before["step"] and torch.equal(state["model"]["a"], before["model"]["a"])
    for size in range(0, len(whole), 101):
        path.write_bytes(whole[:size])
        with pytest.raises(StateError, match="damaged"):
            read_state(tmp_path)


def test_a_state_that_the_disk_takes_no_more_leaves_the_one_before(tmp_path, monkeypatch):
    run = Run(tmp_path)
    run.save(3, model={})

    def full(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StateError, match="make room"):
        run.save(4, model={})
    assert read_state(tmp_path)["step"] == 3 and [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_state_in_parts_stays_until_the_next_one_is_whole(tmp_path, monkeypatch):
    run, weights = Run(tmp_path, part_mb=1), {"a": torch.rand(1_200_000)}
    assert not has_state(tmp_path)
    run.save(3, model=weights)
    first = sorted(path.name for path in tmp_path.iterdir())
    assert len(first) == 3
    written, write = [], Path.write_bytes

    def full(path, data):
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(StateError, match="make room"):
            run.save(4, model=weights)
    assert read_state(tmp_path)["step"] == 3 and sorted(path.name for path in tmp_path.iterdir()) == first
    kept = {name: (tmp_path / name).read_bytes() for name in first}
    run.save(4, model=weights)
    assert read_state(tmp_path)["step"] == 4 and len(list(tmp_path.iterdir())) == 3
    # killed between two parts of the newer one
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(StateError, match="2 of 3 parts"):
        read_state(tmp_path)
    assert has_state(tmp_path)  # one that is not whole, and not none
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    assert read_state(tmp_path)["step"] == 3


def test_a_state_in_parts_of_an_earlier_version_is_read(tmp_path):
    run = Run(tmp_path, part_mb=1)
    run.save(3, model={"a": torch.rand(1_200_000)})
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / (path.name.partition(".")[0] + ".part"))
    assert read_state(tmp_path)["step"] == 3
    run.save(4, model={})
    assert read_state(tmp_path)["step"] == 4 and len(list(tmp_path.iterdir())) == 1
