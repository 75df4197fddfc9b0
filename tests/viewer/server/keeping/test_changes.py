"""Snapshots of what has changed: which files a walk is resumed from, and what happens to it after an error of the
disk."""

import json

import pytest
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.server.keeping.records import Meta
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.server.store import Store, StoreError
from roam.viewer.server.threads.stepper import Stepper
from roam.world.action import Action, parse_action
from roam.world.pose import Motion

from ..doubles import Tiny, TinyWorlds, killed, until

WALK = [parse_action(text) for text in ("move forward", "turn left", "move forward", "strafe left", "look down")]


class Large(Tiny):
    """A Tiny whose whole saves take 2 kB, and whose changes are its newest actions."""

    saves_changes = True

    def save(self, path):
        super().save(path)
        path.write_text(path.read_text() + " " * 2000)

    def save_changes(self, path, before):
        shared = min(len(before.actions), len(self.actions))
        while shared and before.actions[:shared] != self.actions[:shared]:
            shared -= 1
        rows = [
            [a.text, a.motion.forward, a.motion.right, a.motion.yaw_deg, a.motion.pitch_deg]
            for a in self.actions[shared:]
        ]
        path.write_text(json.dumps([shared, rows]))
        return True


class LargeWorlds(TinyWorlds):
    """Opens Large explorers; `loaded` has the names of the files that each walk was resumed from."""

    def __init__(self):
        super().__init__()
        self.loaded = []

    def open(self, request):
        return Large(request.seed)

    def load(self, path, *changes):
        seed, _, _, rows = json.loads(path.read_text())
        actions = [Action(text, Motion(*motion)) for text, *motion in rows]
        for change in changes:
            shared, rows = json.loads(change.read_text())
            actions = actions[:shared] + [Action(text, Motion(*motion)) for text, *motion in rows]
        self.loaded.append([path.name, *(change.name for change in changes)])
        return Large(seed, tuple(actions))


@pytest.fixture
def eager(monkeypatch):
    """Every step counts as slow to repeat, and every snapshot is written before the next one."""
    monkeypatch.setattr("roam.viewer.server.explorers.REDO_MS", 0.0)
    monkeypatch.setattr(Stepper, "write_in_background", lambda _self, _awake, work, then: then(work()))


def walked(tmp_path, actions=WALK * 4, **limits):
    """Walk on a server that is then killed; returns the walk's token, its folder and the digest of its last frame."""
    with killed(LargeWorlds(), folder=tmp_path, limits=Limits(**limits)) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=4)
        walk.rollout(actions)
        token = client.token(walk.id)
    return token, tmp_path / "sessions" / walk.id, walk.frame.digest


def taken_up(tmp_path, token):
    """The digest of the frame at which the walk is resumed, that of the next step, and the files that it was resumed
    from."""
    worlds = LargeWorlds()
    with Server(worlds, folder=tmp_path) as server, Client(server.address) as client:
        walk = RemoteSession.resume(client, token)
        shown = walk.frame.digest
        return shown, walk.step(WALK[0]).digest, worlds.loaded[-1]


def expected(count):
    frames = Tiny(4).rollout((WALK * 20)[:count]).frames
    return frames[-1].digest


def names(folder, kind):
    return sorted(path.name for path in folder.glob(f"{kind}-*"))


def test_a_walk_is_taken_up_from_a_whole_snapshot_and_the_changes_since(eager, tmp_path):
    token, folder, digest = walked(tmp_path)
    assert names(folder, "changes")
    shown, after, loaded = taken_up(tmp_path, token)
    assert (shown, after) == (digest, expected(21)) and digest == expected(20)
    assert loaded[0].startswith("snapshot-") and len(loaded) > 1
    assert taken_up(tmp_path, token)[0] == after


def test_changes_never_outgrow_the_whole_snapshot_and_two_whole_ones_are_kept(eager, tmp_path):
    _, folder, _ = walked(tmp_path, WALK * 12)
    whole = names(folder, "snapshot")
    assert len(whole) == 2 and json.loads((folder / "meta.json").read_text())["older"]
    changes = sum(path.stat().st_size for path in folder.glob("changes-*"))
    assert changes <= 1.2 * max(path.stat().st_size for path in folder.glob("snapshot-*"))


def test_steps_that_are_soon_done_again_wait_for_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr("roam.viewer.server.explorers.REDO_MS", 1e9)
    _, folder, _ = walked(tmp_path, WALK * 4, snapshot_frames=30)
    assert names(folder, "snapshot") == ["snapshot-1"] and not names(folder, "changes")


@pytest.mark.parametrize("which", ["newest changes", "first changes", "whole"])
def test_where_a_disk_has_erred_what_is_older_is_taken_and_no_act_is_lost(eager, tmp_path, which):
    token, folder, digest = walked(tmp_path, WALK * 12)
    meta = json.loads((folder / "meta.json").read_text())
    whole, *changes = meta["chain"]
    assert len(changes) > 1 and meta["older"]
    wrong = {"newest changes": f"changes-{changes[-1]}", "first changes": f"changes-{changes[0]}"}
    (folder / wrong.get(which, f"snapshot-{whole}")).write_text("torn")
    shown, after, loaded = taken_up(tmp_path, token)
    assert (shown, after) == (digest, expected(61))
    wanted = {"newest changes": len(changes), "first changes": 1, "whole": 1}
    assert len(loaded) == wanted[which]
    assert taken_up(tmp_path, token)[0] == after


def test_a_bit_that_flips_in_a_log_is_noticed_and_the_walk_is_taken_up_as_it_stood_before(tmp_path):
    token, folder, _ = walked(tmp_path, WALK)
    path = folder / "log-1.jsonl"
    lines = path.read_bytes().split(b"\n")
    assert b"0.3" in lines[2]
    path.write_bytes(b"\n".join([*lines[:2], lines[2].replace(b"0.3", b"0.7"), *lines[3:]]))
    shown, after, _ = taken_up(tmp_path, token)
    assert (shown, after) == (expected(2), Tiny(4).rollout([*WALK[:2], WALK[0]]).frames[-1].digest)
    assert taken_up(tmp_path, token)[0] == after


def test_a_bit_that_flips_in_what_is_known_of_a_walk_is_noticed_and_the_copy_is_read(tmp_path):
    store = Store(tmp_path)
    meta = store.snapshot(Meta("ab", "cd" * 32, last=7, applied=(5, 7), refused=((6, "too far"),)), Tiny(4))
    path = tmp_path / "sessions" / "ab" / "meta.json"
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert store.meta("ab") == meta, bytes(damaged)
    for wrong in (b"", b"[]", b"7", b"[" * 100_000):
        path.write_bytes(wrong)
        assert store.metas() == [meta]
    path.with_name("meta-again.json").write_bytes(b"7")
    with pytest.raises(StoreError, match="no walk 'ab' that can be read"):
        store.meta("ab")
    store.close()


def test_what_the_first_servers_knew_of_a_walk_has_no_sum_and_is_read(tmp_path):
    store = Store(tmp_path)
    meta = store.snapshot(Meta("ab", "cd" * 32), Tiny(4))
    path = tmp_path / "sessions" / "ab" / "meta.json"
    told = json.loads(path.read_bytes())
    del told["sum"]
    path.write_text(json.dumps(told))
    assert store.meta("ab") == meta
    store.close()


def test_logs_without_sums_are_read(tmp_path):
    token, folder, digest = walked(tmp_path, WALK)
    path = folder / "log-1.jsonl"
    path.write_bytes(b"\n".join(line.partition(b"\t")[0] for line in path.read_bytes().split(b"\n")))
    assert taken_up(tmp_path, token)[0] == digest


def test_a_walk_that_is_parked_writes_what_has_changed(tmp_path):
    limits = Limits(park_s=0.2)
    with Server(LargeWorlds(), folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walk = RemoteSession.open(client, seed=4)
        for _ in range(2):
            before = names(tmp_path / "sessions" / walk.id, "changes")
            walk.rollout(WALK)  # on a busy machine, it may be parked between two of these steps too
            until(lambda: client.stats().sessions == 0)
            assert len(names(tmp_path / "sessions" / walk.id, "changes")) > len(before)
        assert walk.step(WALK[0]).digest == expected(11)
