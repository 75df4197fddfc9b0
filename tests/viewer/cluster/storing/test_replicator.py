"""The shared place holds every walk whole at every moment, even when the machine that runs it dies."""

from __future__ import annotations

import json
import shutil
import socket
import threading

import pytest
from roam.viewer.cluster.storing.replicator import Replicator
from roam.viewer.cluster.storing.shared_place import SharedPlace, SharedPlaceError
from roam.viewer.commands.cluster import kept_walks
from roam.viewer.server.keeping.records import Done, Meta
from roam.viewer.server.store import Store, finished
from roam.world.action import parse_action

from ...server.doubles import Tiny, TinyWorlds

FORWARD = parse_action("move forward")


class Failing(SharedPlace):
    """A folder that stops answering after so many files."""

    left = 99

    def get(self, path):
        self.left -= 1
        if self.left < 0:
            raise OSError("no answer")
        return super().get(path)


def s3_place() -> tuple[SharedPlace, object]:
    moto = pytest.importorskip("moto.server", reason="pip install 'moto[server]' s3fs")
    s3fs = pytest.importorskip("s3fs", reason="pip install s3fs 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    options = {"endpoint_url": f"http://127.0.0.1:{port}", "key": "test", "secret": "test"}
    bucket = f"walks-{port}"  # moto keeps its data for as long as this process runs
    place = SharedPlace(f"s3://{bucket}/roam", options)
    s3fs.S3FileSystem(**options).mkdir(bucket)
    return place, server


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    if request.param == "folder":
        yield SharedPlace(str(tmp_path / "shared"))
        return
    found, server = s3_place()
    yield found
    server.stop()


@pytest.fixture
def keep():
    """Makes replicators, and stops them at the end."""
    made = []

    def make(folder, place) -> Replicator:
        made.append(Replicator(folder, place))
        return made[-1]

    yield make
    for replicator in made:
        replicator.stop()


def test_a_place_takes_gives_lists_and_removes(place):
    place.put("sessions/a/meta.json", b"1")
    place.put("sessions/a/log-1.jsonl", b"2")
    place.put("sessions/b/meta.json", b"3")
    place.put("sessions/a/meta.json", b"4")
    assert place.get("sessions/a/meta.json") == b"4"
    assert place.folders("sessions") == ["a", "b"]
    assert place.files("sessions/a") == ["log-1.jsonl", "meta.json"]
    place.remove("sessions/a")
    assert place.folders("sessions") == ["b"] and place.files("nowhere") == []
    with pytest.raises(FileNotFoundError):
        place.get("sessions/a/meta.json")


def test_a_walk_goes_on_from_the_place_as_it_stood(place, tmp_path, keep):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    walk = Tiny(3)
    meta = here.snapshot(Meta("ab", "c" * 64), walk)
    replicator = keep(here.folder, place)
    replicator.round()
    for _ in range(3):
        walk.step(FORWARD)
        here.log("ab", Done(FORWARD, 0))
    replicator.round()
    meta = here.snapshot(meta, walk)
    walk.step(FORWARD)
    here.log("ab", Done(FORWARD, 7))
    here.save("c" * 64, "door", walk)
    replicator.round()
    other = keep(there.folder, place)
    other.fetch("ab")
    found, explorer, _ = finished(there.restored("ab", TinyWorlds().load))
    assert explorer.frame.digest == walk.frame.digest and found.last == 7
    assert there.find_save(["c" * 64], "door").exists()
    here.close()
    there.close()


def test_what_is_not_wanted_any_more_goes_and_a_closed_walk_goes_whole(place, tmp_path, keep):
    store, walk = Store(tmp_path / "here"), Tiny(1)
    meta, replicator = store.snapshot(Meta("ab", "c" * 64), walk), keep(tmp_path / "here", place)
    for _ in range(4):
        replicator.round()
        meta = store.snapshot(meta, walk)
    replicator.round()
    here = (store.folder / "sessions/ab").iterdir()
    assert place.files("sessions/ab/stay-000001-worker") == sorted(path.name for path in here)
    store.forget("ab")
    replicator.round()
    assert place.folders("sessions") == []
    store.close()


def test_meta_is_not_sent_before_what_it_names(tmp_path, keep):
    """A worker that dies between two files leaves a walk that can be resumed."""
    store, order = Store(tmp_path / "here"), []

    class Watched(SharedPlace):
        def put(self, path, data):
            order.append(path.rsplit("/", 1)[1])
            super().put(path, data)

    place = Watched(str(tmp_path / "shared"))
    store.snapshot(Meta("ab", "c" * 64), Tiny(1))
    keep(store.folder, place).round()
    assert order[-1] == "meta.json" and "snapshot-1" in order
    assert json.loads(place.get("sessions/ab/stay-000001-worker/meta.json"))["snapshot"] == 1
    store.close()


def test_a_place_that_is_away_is_counted_and_tried_again(tmp_path, keep):
    store = Store(tmp_path / "here")
    store.snapshot(Meta("ab", "c" * 64), Tiny(1))
    (tmp_path / "shared").write_text("a file where the folder should be")
    replicator = keep(store.folder, SharedPlace(str(tmp_path / "shared")))
    replicator.round()
    assert replicator.failures == 1
    (tmp_path / "shared").unlink()
    replicator.round()
    assert replicator.failures == 1 and replicator.place.folders("sessions") == ["ab"]
    store.close()


def test_a_place_of_an_unknown_kind_is_refused():
    with pytest.raises(SharedPlaceError, match="wanted a folder or s3"):
        SharedPlace("nonsense://walks")


def test_saves_that_were_fetched_in_part_are_fetched_again(tmp_path, keep, monkeypatch):
    place = SharedPlace(str(tmp_path / "shared"))
    for name in ("one", "two"):
        place.put(f"saves/owner/{name}", b"save")
    replicator, get, fetched = keep(tmp_path / "here", place), place.get, []

    def fails_once(path):
        fetched.append(path)
        if len(fetched) == 2:
            raise OSError(28, "No space left on device")
        return get(path)

    monkeypatch.setattr(place, "get", fails_once)
    with pytest.raises(OSError, match="No space"):
        replicator.fetch_saves("owner")
    replicator.fetch_saves("owner")
    assert sorted(path.name for path in (tmp_path / "here" / "saves" / "owner").iterdir()) == ["one", "two"]


def test_a_walk_that_comes_half_from_the_place_is_not_copied_back_over_what_is_there(tmp_path, keep):
    """Meanwhile another worker may have taken it, and gone on."""
    walk, place = Tiny(3), SharedPlace(str(tmp_path / "shared"))
    first = Store(tmp_path / "first")
    meta = first.snapshot(Meta("ab", "c" * 64), walk)
    keep(first.folder, place).round()
    taking = keep(tmp_path / "taking", Failing(place.url))
    taking.place.left = 2  # it comes, and not all that it names
    with pytest.raises(OSError, match="no answer"):
        taking.fetch("ab")
    walk.step(FORWARD)
    first.snapshot(meta, walk)
    keep(first.folder, place).round()
    newest = {name: place.get(f"sessions/ab/{name}") for name in place.files("sessions/ab")}
    taking.round()
    assert {name: place.get(f"sessions/ab/{name}") for name in place.files("sessions/ab")} == newest
    taking.place.left = 99
    taking.fetch("ab")
    _, explorer, _ = finished(Store(taking.folder).restored("ab", TinyWorlds().load))
    assert explorer.frame.digest == walk.frame.digest


class Slow(SharedPlace):
    """A folder whose next file takes until it is let."""

    def __init__(self, url):
        super().__init__(url)
        self.asked, self.let = threading.Event(), threading.Event()
        self.let.set()

    def put(self, path, data):
        self.asked.set()
        self.let.wait(30)
        super().put(path, data)


def test_a_walk_that_was_given_away_during_a_round_stays_in_the_place(tmp_path, keep):
    """The round once took its copy for one of a walk that had been closed, and removed it from under its new worker."""
    place, walk = Slow(str(tmp_path / "shared")), tmp_path / "here" / "sessions" / "a"
    walk.mkdir(parents=True)
    (walk / "meta.json").write_text("{}")
    replicator = keep(tmp_path / "here", place)
    replicator.round()
    (walk / "meta.json").write_text('{"newer": 1}')
    place.asked.clear()
    place.let.clear()
    round_, forgetting = threading.Thread(target=replicator.round), threading.Thread(target=replicator.forget, args="a")
    round_.start()
    assert place.asked.wait(30)
    forgetting.start()
    forgetting.join(0.2)
    place.let.set()
    for thread in (forgetting, round_):
        thread.join()
    shutil.rmtree(walk)
    replicator.round()
    assert place.get("sessions/a/stay-000001-worker/meta.json") == b'{"newer": 1}'


def test_a_walk_of_a_cluster_that_had_no_stays_yet_is_taken_up_and_moves_to_one(place, tmp_path, keep):
    walk, first = Tiny(3), Store(tmp_path / "first")
    first.snapshot(Meta("ab", "c" * 64), walk)
    for path in (first.folder / "sessions/ab").iterdir():
        place.put(f"sessions/ab/{path.name}", path.read_bytes())
    taking = keep(tmp_path / "taking", place)
    assert kept_walks(place) == {"ab": "c" * 64}
    taking.fetch("ab")
    taking.round()
    assert place.folders("sessions/ab") == ["stay-000001-worker"] and "meta.json" not in place.files("sessions/ab")
    assert kept_walks(place) == {"ab": "c" * 64}
    _, explorer, _ = finished(Store(taking.folder).restored("ab", TinyWorlds().load))
    assert explorer.frame.digest == walk.frame.digest


def test_each_worker_writes_into_the_folder_of_its_own_stay(place, tmp_path):
    """A worker that was given up, and still reached the shared place, wrote over the walk's next worker's files."""
    walk, old, new = Tiny(3), Store(tmp_path / "old"), Store(tmp_path / "new")
    meta = old.snapshot(Meta("ab", "c" * 64), walk)
    given_up, next_one = (Replicator(store.folder, place, worker=name) for store, name in ((old, "w1"), (new, "w2")))
    given_up.round()
    next_one.fetch("ab")
    other = Tiny(3)
    other.step(FORWARD)
    new.snapshot(meta, other)
    next_one.round()
    newest = {name: place.get(f"sessions/ab/{name}") for name in place.files("sessions/ab")}
    old.snapshot(meta, walk)
    given_up.round()  # it sees that the walk has gone on, and stops
    old.forget("ab")
    given_up.round()  # and does not take the newer copy for its own that is not wanted any more
    assert {name: place.get(f"sessions/ab/{name}") for name in place.files("sessions/ab")} == newest
    assert {name.split("/")[0] for name in newest} == {"stay-000002-w2"}
    for each in (given_up, next_one):
        each.stop()


def test_a_copy_that_is_incomplete_is_passed_over_and_never_written_into(tmp_path, keep):
    """Its worker died over it; the walk's next worker takes the copy before, and begins a folder of its own."""
    walk, place = Tiny(3), SharedPlace(str(tmp_path / "shared"))
    store = Store(tmp_path / "first")
    store.snapshot(Meta("ab", "c" * 64), walk)
    keep(store.folder, place).round()
    place.put("sessions/ab/stay-000002-w2/log-1.jsonl", b"half of it")
    taking = keep(tmp_path / "taking", place)
    taking.fetch("ab")
    taking.round()
    assert taking.stay("ab") == 3 and place.folders("sessions/ab") == ["stay-000003-worker"]


def test_saves_that_were_fetched_once_are_fetched_again_unless_newer_ones_are_here(tmp_path, keep):
    place = SharedPlace(str(tmp_path / "shared"))
    place.put("saves/owner/one", b"old")
    replicator = keep(tmp_path / "here", place)
    replicator.fetch_saves("owner")
    place.put("saves/owner/one", b"new")
    replicator.fetch_saves("owner")
    here = tmp_path / "here" / "saves" / "owner" / "one"
    assert here.read_bytes() == b"new"
    here.write_bytes(b"newest")
    replicator.fetch_saves("owner")
    assert here.read_bytes() == b"newest"
