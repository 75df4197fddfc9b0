"""A save that the disk refuses is reported as such, and the save before it stays."""

import errno
from dataclasses import replace

import pytest
import torch
from roam.world.action import parse_action
from roam.world.engine import Engine
from roam.world.saves.snapshot import SnapshotError, write_whole
from roam.world.transformer.passes import Serving

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


LEFT, ON, BACK = (parse_action(text) for text in ("turn left", "move forward", "step back"))


@pytest.fixture
def dreaming(loaded_dreaming):
    return Engine(loaded_dreaming, serving=Serving(precision="float32"))


def written_in_parts(session, parts, folder):
    """A walk that is saved whole at first, and its changes after each part: a list of actions, or how many steps to
    undo."""
    paths, before = [folder / "whole"], session.fork()
    session.save(paths[0])
    for part in parts:
        if isinstance(part, int):
            session.rewind(part)
        else:
            for action in part:
                session.step(action)
        paths.append(folder / f"changes-{len(paths)}")
        assert session.save_changes(paths[-1], before)
        before.close()
        before = session.fork()
    before.close()
    return paths


def kept(session):
    """Everything that a session keeps, for each moment."""
    session.settle()
    cache, told = session.engine.cache, []
    for moment in session.moments:
        pages = [
            (k.number, k.tokens.tolist(), cache.k[:, k.page].sum().item(), cache.v[:, k.page].sum().item())
            for k in moment.keyframes
        ]
        views = [
            (index, view.pixels.sum(), view.own_depth.tobytes(), view.pose, view.origin)
            for index, view in moment.memory.items()
        ]
        told.append((moment.frame.digest, pages, views))
    return told, session.actions


def pages_in_use(engine):
    return engine.cache.pool.num_pages - engine.cache.pool.num_free


@pytest.mark.parametrize(
    "parts",
    [
        [[LEFT, LEFT], [ON], [BACK, LEFT]],
        [[LEFT] * 4, 3, [ON, ON]],
        [[LEFT, ON], 1, [], [LEFT, BACK]],
        [[ON] * 3, 3, [LEFT]],
    ],
)
def test_a_walk_saved_in_changes_is_loaded_as_it_is_and_goes_on_so(dreaming, first_frame, tmp_path, parts):
    session = dreaming.session(first_frame, seed=1)
    paths = written_in_parts(session, parts, tmp_path)
    loaded = dreaming.load_session(*paths)
    assert kept(loaded) == kept(session)
    ahead = [session.step(action).digest for action in (LEFT, BACK, ON)]
    assert [loaded.step(action).digest for action in (LEFT, BACK, ON)] == ahead
    loaded.save(tmp_path / "again")
    assert kept(dreaming.load_session(tmp_path / "again")) == kept(loaded)


def test_changes_are_smaller_than_the_walk_and_those_of_a_walk_that_stood_still_are_next_to_nothing(
    dreaming, first_frame, tmp_path
):
    whole, *changes = written_in_parts(dreaming.session(first_frame), [[LEFT] * 6, [ON], []], tmp_path)
    sizes = [path.stat().st_size for path in (whole, *changes)]
    assert sizes[2] < sizes[1] / 2 and sizes[3] < 10_000


def test_what_no_rewind_reaches_any_more_is_left_out(dreaming, first_frame, tmp_path, monkeypatch):
    monkeypatch.setattr(type(dreaming), "rewind_limit", 3)
    session = dreaming.session(first_frame)
    paths = written_in_parts(session, [[LEFT] * 3, [ON] * 2], tmp_path)
    assert kept(dreaming.load_session(*paths)) == kept(session)
    far = session.fork()
    for _ in range(5):
        session.step(LEFT)
    assert not session.save_changes(tmp_path / "nothing", far)
    assert not (tmp_path / "nothing").exists()


def test_changes_out_of_order_of_another_walk_or_damaged_are_refused_and_take_no_pages(dreaming, first_frame, tmp_path):
    paths = written_in_parts(dreaming.session(first_frame), [[LEFT, ON], [LEFT], [ON]], tmp_path)
    (tmp_path / "other").mkdir()
    other = written_in_parts(dreaming.session(first_frame, seed=7), [[LEFT, BACK], [BACK]], tmp_path / "other")
    flipped, whole = tmp_path / "flipped", paths[1].read_bytes()
    before = pages_in_use(dreaming)
    for wrong in ([paths[0], paths[2]], [*paths[:2], other[2]], [paths[1]], [paths[0], paths[0]]):
        with pytest.raises(SnapshotError):
            dreaming.load_session(*wrong)
    for place in [*range(12), *range(12, len(whole), len(whole) // 60), len(whole) - 1]:
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        flipped.write_bytes(data)
        with pytest.raises(SnapshotError):
            dreaming.load_session(paths[0], flipped, *paths[2:])
    assert pages_in_use(dreaming) == before
