"""A save that a disk refuses is told as what it is, and the save before it stays."""

import errno
from dataclasses import replace

import pytest
import torch
from roam.world.action import parse_action
from roam.world.engine import Engine
from roam.world.snapshot import SnapshotError, write_whole

try:
    import resource
except ImportError:
    resource = None


def test_a_walk_that_was_dreamt_otherwise_goes_on_and_that_is_told(engine, first_frame, tmp_path, caplog):
    session = engine.session(first_frame)
    session.save(tmp_path / "walk.roam")
    engine.load_session(tmp_path / "walk.roam")
    assert not caplog.records
    other = Engine(engine.checkpoint, dida=replace(engine.dida, dream_steps=3))
    assert other.load_session(tmp_path / "walk.roam").frame.digest == session.frame.digest
    assert f"dream_steps {engine.dida.dream_steps}, now 3" in caplog.text


def test_a_bit_that_flips_anywhere_in_a_save_is_noticed(engine, first_frame, tmp_path):
    path, torn = tmp_path / "walk.roam", tmp_path / "torn.roam"
    session = engine.session(first_frame)
    session.step(parse_action("move forward"))
    session.save(path)
    whole = path.read_bytes()
    assert engine.load_session(path).frame.digest == session.frame.digest
    for place in [*range(12), *range(12, len(whole), len(whole) // 60), len(whole) - 1]:
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        torn.write_bytes(data)
        with pytest.raises(SnapshotError):
            engine.load_session(torn)


@pytest.mark.skipif(resource is None, reason="this system has no limits of file sizes")
def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path):
    path = tmp_path / "walk.roam"
    write_whole({"a": torch.zeros(3)}, path, {})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"walk\.roam") as refused:
            write_whole({"a": torch.zeros(3000)}, path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.errno == errno.EFBIG and path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["walk.roam"]
    with pytest.raises(OSError, match="No such file"):
        write_whole({"a": torch.zeros(3)}, tmp_path / "gone" / "walk.roam", {})
