"""How steps are batched and what is counted; and, by itself, the state of held keys and typed words."""

import threading
import time
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.server.command_queue import CommandQueue, OutOfTurnError, QueueFullError
from roam.viewer.server.keeping.records import Done, Meta
from roam.viewer.server.metrics import Metrics, MetricsPage
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.server.threads.stepper import parted
from roam.viewer.wire.encoding import Look, decode, encode
from roam.viewer.wire.protocol import Act, FrameHead
from roam.world.action import Action, ActionError, parse_action

from .doubles import EngineWorlds, Tiny, TinyOnEngine, gauge, until

FORWARD = parse_action("move forward")


def test_walks_that_share_an_engine_have_the_digests_of_walks_alone_and_are_settled(tmp_path):
    worlds = EngineWorlds()
    with Server(worlds, folder=tmp_path) as server, Client(server.address) as client:
        walks = [RemoteSession.open(client, seed=seed) for seed in range(6)]
        threads = [threading.Thread(target=walk.rollout, args=([FORWARD] * 10,)) for walk in walks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [walk.frame.digest for walk in walks] == [
            Tiny(seed).rollout([FORWARD] * 10).frames[-1].digest for seed in range(6)
        ]
    assert worlds.engine.settled == sum(worlds.engine.batches) == 60


def test_steps_that_wait_at_the_same_time_are_one_call_of_the_engine(tmp_path):
    worlds = EngineWorlds()
    with Server(worlds, folder=tmp_path) as server, Client(server.address) as client:
        walks = [client.open(seed=seed, ahead=2) for seed in range(6)]
        worlds.engine.stepping.shut()
        seqs = [client.act(walks[0], FORWARD)]
        assert worlds.engine.stepping.reached.wait(60)
        seqs += [client.act(walk, FORWARD) for walk in walks[1:]]
        while gauge(server, "stepping") < 6:
            time.sleep(0.01)
        client.stats()  # read in the round after the one that saw the last act, whose step is submitted by then
        worlds.engine.stepping.open()
        assert [client.receipt(walk, seq).frame for walk, seq in zip(walks, seqs, strict=True)] == [1] * 6
    assert worlds.engine.batches == [1, 5]


@pytest.mark.parametrize("gains", [True, False])
def test_who_has_waited_for_a_step_does_not_wait_for_the_next_one_of_the_same_walk(tmp_path, gains):
    """A walk that never pauses had its next step together with the neighbour's, which took as long as both: it had two
    steps for each of the neighbour's."""
    worlds = EngineWorlds()
    engine, worlds.engine.gains_together = worlds.engine, gains
    with Server(worlds, folder=tmp_path) as server, Client(server.address) as client:
        busy, walker = client.open(seed=1, ahead=4), client.open(seed=2, ahead=4)
        engine.stepping.shut()
        engine.settling.shut()
        client.act(busy, FORWARD)
        assert engine.stepping.reached.wait(60)
        client.act(busy, FORWARD)
        client.act(walker, FORWARD)
        until(lambda: gauge(server, "stepping") == 2)
        engine.stepping.open()
        client.next_frame(busy, at=1)
        client.stats()  # read in the round after the one that sent the frame: its next step waits by then
        engine.settling.open()
        assert client.next_frame(walker, at=1) and client.next_frame(busy, at=2)
    assert engine.batches == ([1, 2] if gains else [1, 1, 1])


def test_a_batch_is_no_larger_than_its_target_allows():
    """Where one step takes 30 ms, two fit into a target of 80: their frames leave while the next ones are made."""
    assert parted([1, 2, 3, 4, 5], target_ms=80.0, each_ms=30.0) == [[1, 2], [3, 4], [5]]
    assert parted([1, 2, 3], target_ms=10.0, each_ms=30.0) == [[1], [2], [3]]
    assert (
        parted([1, 2, 3], target_ms=0.0, each_ms=30.0) == parted([1, 2, 3], target_ms=80.0, each_ms=0.0) == [[1, 2, 3]]
    )
    assert parted([], target_ms=80.0, each_ms=30.0) == []


def test_a_target_cuts_what_waits_into_several_calls_of_the_engine(tmp_path):
    worlds = EngineWorlds()
    limits = Limits(batch_ms=1e-6)  # any step takes more than that
    with Server(worlds, folder=tmp_path, limits=limits) as server, Client(server.address) as client:
        walks = [client.open(seed=seed) for seed in range(4)]
        for walk in walks:
            client.step(walk, FORWARD)
        threads = [threading.Thread(target=client.step, args=(walk, FORWARD)) for walk in walks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert worlds.engine.batches == [1] * 8


class Preparer(TinyOnEngine):
    """Prepares until it is told to stop."""

    actions: tuple = ()

    def prepare(self, *, stop) -> None:
        self.engine.preparing.set()
        end = time.monotonic() + 60
        while not stop() and time.monotonic() < end:
            time.sleep(0.001)
        self.engine.num_prepared += 1


class PreparingWorlds(EngineWorlds):
    def open(self, request):
        explorer = Preparer(request.seed)
        explorer.engine = self.engine
        return explorer


def test_what_comes_next_is_prepared_where_nobody_waits_and_given_up_for_whoever_comes(tmp_path):
    worlds = PreparingWorlds()
    worlds.engine.preparing, worlds.engine.num_prepared = threading.Event(), 0
    with Server(worlds, folder=tmp_path) as server, Client(server.address) as client:
        walks = [RemoteSession.open(client, seed=seed) for seed in range(2)]
        assert not worlds.engine.preparing.is_set()  # nothing has been done yet that could be repeated
        for number, walk in enumerate(walks * 2):
            worlds.engine.preparing.clear()
            walk.step(FORWARD)
            assert worlds.engine.preparing.wait(60) and worlds.engine.num_prepared >= number
        walks[0].fork().close()  # other work goes first too
        assert [walk.frame.digest for walk in walks] == [
            Tiny(seed).rollout([FORWARD] * 2).frames[-1].digest for seed in range(2)
        ]


def test_a_frame_leaves_before_its_commit_pass(tmp_path):
    worlds = EngineWorlds()
    with Server(worlds, folder=tmp_path) as server, Client(server.address) as client:
        session = client.open(ahead=2)
        worlds.engine.settling.shut()
        client.act(session, FORWARD)
        assert client.next_frame(session, at=1).head.index == 1
        assert worlds.engine.settling.reached.wait(60) and worlds.engine.settled == 0
        worlds.engine.settling.open()
    assert worlds.engine.settled == 1


def test_one_walker_whose_words_mean_nothing_does_not_hold_up_the_batch(tmp_path):
    with Server(EngineWorlds(), folder=tmp_path) as server, Client(server.address) as client:
        walks = [RemoteSession.open(client, seed=seed) for seed in range(4)]
        for walk in walks:
            client.hold(walk.id, "move forward")
        for _ in range(5):
            with pytest.raises(ActionError):
                client.step(walks[0].id, Action("jmp"))
            for walk in walks:
                client.next_frame(walk.id)


def test_a_walk_that_is_slow_to_step_does_not_slow_the_answers(tmp_path):
    worlds = EngineWorlds()
    with Server(worlds, folder=tmp_path) as server, Client(server.address) as client:
        session = client.open(ahead=2)
        worlds.engine.stepping.shut()
        seq = client.act(session, FORWARD)
        assert worlds.engine.stepping.reached.wait(60)
        assert client.stats().steps == 0
        worlds.engine.stepping.open()
        assert client.receipt(session, seq).frame == 1


def test_metrics_are_read_by_prometheus_itself(server, client):
    RemoteSession.open(client).rollout([FORWARD] * 3)
    page = MetricsPage(server.metrics_text)
    text = urllib.request.urlopen(page.url, timeout=5).read().decode()
    page.close()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["roam_steps"].samples[0].value == 3
    assert families["roam_clients"].samples[0].value == 1
    assert families["roam_step_ms"].samples[-1].value == 3


def test_histograms_count_every_value_once():
    metrics = Metrics()
    for value in (0.5, 1, 7, 9999):
        metrics.step_ms.add(value)
    families = {family.name: family for family in text_string_to_metric_families(metrics.text())}
    buckets = {s.labels["le"]: s.value for s in families["roam_step_ms"].samples if s.name.endswith("_bucket")}
    assert (buckets["1"], buckets["5"], buckets["10"], buckets["+Inf"]) == (2, 2, 3, 4)


acts = st.tuples(st.sampled_from(["hold", "once"]), st.sampled_from(["", "move forward", "turn left", "wait"]))


@given(st.lists(st.one_of(acts, st.just("step")), max_size=30))
def test_every_act_has_exactly_one_receipt_once_all_is_done_and_let_go(events):
    controls, receipts, frame, seqs = CommandQueue("ab"), [], 0, []

    def step():
        nonlocal frame
        command = controls.next()
        if command:
            frame += 1
            receipts.append(controls.applied(command, frame))

    for seq, event in enumerate([*events, ("hold", "")], start=1):
        if event == "step":
            step()
        elif event != ("once", ""):
            seqs.append(seq)
            receipts.extend(controls.take_in(Act(seq=seq, session="ab", mode=event[0], text=event[1]), frame=frame))
    while controls.has_work:
        step()
    assert sorted(receipt.seq for receipt in receipts if receipt) == seqs


def once(seq: int, text: str = "move forward") -> Act:
    return Act(seq=seq, session="ab", mode="once", text=text)


def test_an_act_that_is_sent_again_while_its_step_is_made_is_not_said_to_be_applied():
    controls = CommandQueue("ab")
    controls.take_in(once(3), frame=0)
    command = controls.next()
    assert controls.take_in(once(3), frame=0) == []
    assert controls.refused(command, 0, "a wall").status == "refused"
    assert [receipt.status for receipt in controls.take_in(once(3), frame=0)] == ["refused"]


def test_an_act_that_found_the_queue_full_stays_refused_when_it_is_sent_again():
    controls = CommandQueue("ab")
    controls.take_in(once(1, "move forward 150 m"), frame=0)
    with pytest.raises(QueueFullError):
        controls.take_in(once(2, "turn left 360 degrees and move back 100 m"), frame=0)
    controls.take_in(once(3), frame=0)
    assert [receipt.status for receipt in controls.take_in(once(2), frame=0)] == ["refused"]


@given(
    st.integers(1, 20), st.integers(1, 20), st.sampled_from(["", "f32", "u16mm"]), st.booleans(), st.integers(0, 2**32)
)
def test_what_is_encoded_raw_decodes_to_the_same_frame(height, width, depth, has_tokens, seed):
    frame = Tiny(seed, side=(height, width)).frame
    encoded = encode(frame, Look("raw", depth=depth, tokens=has_tokens))
    head = FrameHead(session="ab", index=frame.index, **encoded.fields)
    seen = decode(head, bytes(encoded.payload))
    assert seen.pixels.tobytes() == frame.pixels.tobytes()
    assert (seen.depth is None) == (depth == "")
    assert (seen.digest == frame.digest) == has_tokens


def test_what_is_out_of_turn_and_was_never_done_is_not_said_to_be_applied():
    controls = CommandQueue("ab")
    controls.take_in(once(5), frame=0)
    assert controls.applied(controls.next(), 1).status == "applied"
    with pytest.raises(OutOfTurnError, match="count up"):
        controls.take_in(once(3), frame=1)
    assert [receipt.frame for receipt in controls.take_in(once(5), frame=1)] == [1]


def test_many_acts_that_were_done_since_do_not_make_one_that_was_refused_applied():
    controls = CommandQueue("ab")
    controls.take_in(once(1), frame=0)
    controls.refused(controls.next(), 0, "a wall")
    for seq in range(2, 3000):
        controls.take_in(once(seq), frame=seq)
        controls.applied(controls.next(), seq)
    assert [receipt.status for receipt in controls.take_in(once(1), frame=0)] == ["refused"]


def taken_up(*done: Done) -> CommandQueue:
    """The commands of a walk with these acts in its log."""
    meta = Meta("ab", "secret")
    for one in done:
        meta = meta.after(one)
    controls = CommandQueue("ab", last=meta.last)
    controls.go_on(meta)
    return controls


def test_a_walk_that_is_taken_up_knows_of_each_act_what_became_of_it():
    controls = taken_up(Done(FORWARD, 1), Done(None, 9, refused="the queue is full"), Done(FORWARD, 4))
    told = {seq: controls.take_in(once(seq), frame=7) for seq in (1, 4, 9)}
    assert {seq: [(r.status, r.reason) for r in receipts] for seq, receipts in told.items()} == {
        1: [("applied", "")],
        4: [("applied", "")],
        9: [("refused", "the queue is full")],
    }
    assert controls.last == 9 and not controls.has_work
    assert controls.take_in(once(5), frame=7) == [] and controls.has_work  # it had been sent, and is still to be done
    with pytest.raises(OutOfTurnError):
        controls.take_in(once(2), frame=7)


@given(st.integers(1, 9))
def test_of_an_act_that_was_done_in_part_the_rest_is_done(num_done):
    controls = taken_up(*[Done(FORWARD, part=(3, number)) for number in range(1, num_done + 1)])
    assert controls.take_in(once(3, "move forward 3 m"), frame=0) == []
    numbers = []
    while command := controls.next():
        numbers.append(command.number)
        controls.applied(command, 0)
    assert numbers == list(range(num_done + 1, 11))
