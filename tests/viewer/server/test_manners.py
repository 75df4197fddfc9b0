"""How a server handles clients that send nonsense, do not read, come and go, or ask for too much."""

import random
import socket
import time

import msgpack
import pytest
from roam.viewer.client.client import Client, ServerError
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.server.handlers import Handlers
from roam.viewer.server.registry import Limits, Published
from roam.viewer.server.socket import ServerSocket
from roam.viewer.wire import protocol as p
from roam.world.action import parse_action

from ..wire.examples import EXAMPLES
from .doubles import Tiny, until

FORWARD = parse_action("move forward")


def nonsense(rng: random.Random) -> list[bytes]:
    """Parts of a message that is wrong in one way or another: bytes, maps, or a good message that was damaged."""
    kind = rng.randrange(4)
    if kind == 0:
        return [rng.randbytes(rng.randrange(200)) for _ in range(rng.randrange(1, 4))]
    if kind == 1:
        junk = [None, -1, 2**64 - 1, "x" * 500, b"\xff", [1, [2]], {"a": 1}, 1e308, True, "act", "open", "hello"]
        keys = ["type", "seq", "session", "text", "versions", "frames", "v", "name", "token"]
        return [msgpack.packb({key: rng.choice(junk) for key in keys})]
    good = bytearray(p.pack(rng.choice(EXAMPLES))[0])
    if kind == 2:
        good[rng.randrange(len(good))] = rng.randrange(256)
    else:
        del good[rng.randrange(1, len(good)) :]
    return [bytes(good)]


def flood(wire, count: int, *, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(count):
        wire.raw(*nonsense(rng))
        if number % 50 == 49:  # read the answers, as a client that reads would
            while wire.socket.poll(0):
                wire.socket.recv_multipart()


@pytest.fixture
def limits():
    return Limits(messages_per_s=1e6, max_sessions=20_000, patience_s=60.0)


def check_nonsense_leaves_the_server_serving(wires, client, count: int):
    walk = RemoteSession.open(client, seed=8)
    stranger, guest = wires(), wires()
    guest.greet()
    flood(stranger, count // 2, seed=1)
    flood(guest, count // 2, seed=2)
    assert walk.step(FORWARD).digest == Tiny(8).step(FORWARD).digest
    wires().open()


def test_thousands_of_malformed_messages_leave_the_server_serving(wires, client):
    check_nonsense_leaves_the_server_serving(wires, client, 3000)


def test_messages_that_take_long_to_read_leave_frames_their_turn(server, client, wires, monkeypatch):
    read, acted, sent = [], [], []

    def slowly(handlers, received, receive=Handlers.receive):
        if b"ping" in received.parts[0]:
            time.sleep(0.002)
            read.append(received)
        elif b"act" in received.parts[0]:
            acted.append(len(read))
        receive(handlers, received)

    def noted(wire, *arguments, send_frame=ServerSocket.send_frame):
        sent.append(len(read))
        return send_frame(wire, *arguments)

    walk, guest = RemoteSession.open(client, seed=8), wires()
    guest.greet()
    monkeypatch.setattr(Handlers, "receive", slowly)
    monkeypatch.setattr(ServerSocket, "send_frame", noted)
    for _ in range(1000):
        guest.send(p.Ping())
    walk.step(FORWARD)
    assert sent[0] - acted[0] < 150  # it once took four hundred


@pytest.mark.soak(reason="ten thousand messages, where the test above sends three")
def test_ten_thousand_malformed_messages_leave_the_server_serving(wires, client):
    check_nonsense_leaves_the_server_serving(wires, client, 10_000)


def test_bytes_that_are_no_zmq_at_all_leave_the_server_serving(server, client):
    host, port = server.address.removeprefix("tcp://").split(":")
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, b"\xff" + b"\0" * 8 + b"\x7f\x03", b""):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(junk)
    assert client.stats().clients == 1


def test_an_unknown_type_is_answered_with_a_typed_error(wires, header):
    wire = wires()
    wire.greet()
    wire.raw(header(type="dance", seq=4))
    error = wire.read_until(p.Error)
    assert (error.code, error.seq) == ("unknown_type", 4)


def test_whoever_has_not_said_hello_is_told_to(wires):
    wire = wires()
    wire.send(p.Stats(seq=3))
    error = wire.read_until(p.Error)
    assert (error.code, error.seq) == ("hello_first", 3)


def test_versions_without_one_in_common_are_refused(wires):
    wire = wires()
    wire.send(p.Hello(versions=(4, 5)))
    error = wire.read_until(p.Error)
    assert error.code == "version"
    assert "[4, 5]" in error.message


def test_what_is_too_large_is_told_so_and_a_part_beyond_all_limits_cuts_its_connection_alone(wires, client):
    wire = wires()
    opened = wire.open()
    wire.raw(p.pack(p.Open(seq=2))[0], bytes(p.MAX_IMAGE + 1))
    refused = wire.read_until(p.Error)
    assert (refused.code, refused.seq) == ("too_large", 2) and str(p.MAX_IMAGE) in refused.message
    wire.raw(p.pack(p.Open(seq=3))[0], bytes(p.MAX_PART + 1))
    wire.send(p.Credit(session=opened.session))  # by then on a new connection, which the server does not know
    assert wire.read_until(p.Error).code == "hello_first"
    assert client.stats().clients >= 1


def test_nobody_acts_on_the_walk_of_another(client, wires):
    walk, wire = RemoteSession.open(client), wires()
    wire.greet()
    for message in (
        p.Act(seq=2, session=walk.id, text="wait"),
        p.Credit(session=walk.id),
        p.Rewind(seq=4, session=walk.id, frames=0),
        p.Save(seq=5, session=walk.id, name="mine"),
        p.Fork(seq=6, session=walk.id),
        p.Close(seq=7, session=walk.id),
    ):
        wire.send(message)
        assert wire.read_until(p.Error).code == "not_yours"
    wire.send(p.Resume(seq=8, token="0" * 32))
    assert wire.read_until(p.Error).code == "unknown_session"
    assert walk.step(FORWARD).index == 1


def test_no_more_frames_are_made_or_sent_than_there_are_credits(wires, client):
    wire = wires()
    opened = wire.open(credits=3)
    wire.send(p.Act(seq=2, session=opened.session, text="move forward"))
    indices = [wire.read_until(p.FrameHead).index for _ in range(3)]
    assert indices == [0, 1, 2]
    assert wire.read(timeout_s=0.2) is None
    assert client.stats().steps == 2
    wire.send(p.Credit(session=opened.session, frames=2))
    assert [wire.read_until(p.FrameHead).index for _ in range(2)] == [3, 4]
    assert wire.read(timeout_s=0.2) is None


def test_credits_do_not_pile_up(wires):
    wire = wires()
    opened = wire.open(credits=1)
    assert wire.read_until(p.FrameHead).index == 0
    for _ in range(9):
        wire.send(p.Credit(session=opened.session, frames=16))
    wire.send(p.Act(seq=2, session=opened.session, text="move forward"))
    indices = [wire.read_until(p.FrameHead).index for _ in range(16)]
    assert indices == list(range(1, 17))
    assert wire.read(timeout_s=0.2) is None


def test_a_client_that_never_reads_holds_up_nobody_and_is_walked_no_further_than_its_connection_holds(
    worlds, server, wires, client
):
    """Credits were once taken at their word: a client that granted them without reading had steps computed and frames
    encoded for ever, at full speed, and its neighbour kept a third of its rate."""
    worlds.side = (512, 512)  # 786 kB a frame: a few fill every buffer on the way
    deaf = wires(rcvhwm=1, rcvbuf=65536)
    opened = deaf.open(credits=16)
    deaf.send(p.Act(seq=2, session=opened.session, text="move forward"))
    worlds.side = (6, 8)
    walk, num_steps, num_still = RemoteSession.open(client), 0, 0
    while num_still < 20:  # steps of its neighbour in which it takes none
        assert walk.frame.index < 1000, "its steps do not end"
        deaf.send(p.Credit(session=opened.session, frames=16))
        index = walk.step(FORWARD).index
        num_still = num_still + 1 if server.metrics.steps - index == num_steps else 0
        num_steps = server.metrics.steps - index
    heads = [deaf.read_until(p.FrameHead) for _ in range(num_steps + 1)]
    assert [head.index for head in heads] == list(range(num_steps + 1)), "what was made is not lost"
    deaf.send(p.Credit(session=opened.session, frames=16))
    assert deaf.read_until(p.FrameHead).index == num_steps + 1, "once it reads, it walks on"


def test_frames_are_not_encoded_for_a_spectator_that_never_reads(worlds, server, wires, monkeypatch):
    worlds.side = (512, 512)
    driver, deaf, encoded = wires(), wires(rcvhwm=1, rcvbuf=65536), []

    def noted(published, look, skipped, message=Published.message):
        encoded.extend([published.frame.index] if look.encoding == "jpeg" else [])
        return message(published, look, skipped)

    monkeypatch.setattr(Published, "message", noted)
    monkeypatch.setattr("roam.viewer.server.server.TICK_S", 1e6)  # it is not tried again
    opened = driver.open(credits=1)
    deaf.greet()
    deaf.send(p.Watch(seq=1, session=opened.session, credits=16, encoding="jpeg", quality=100, depth="f32"))
    driver.send(p.Act(seq=2, session=opened.session, text="move forward"))
    for index in range(200):
        assert driver.read_until(p.FrameHead).index == index
        deaf.send(p.Credit(session=opened.session, frames=16))
        deaf.send(p.Stats(seq=index + 2))
        driver.send(p.Credit(session=opened.session))
    assert max(encoded) < 150


def test_a_client_that_hangs_up_is_gone_at_once_and_its_keys_are_let_go(server, client, wires):
    wire = wires()
    opened = wire.open(credits=16)
    wire.send(p.Act(seq=2, session=opened.session, text="move forward"))
    wire.read_until(p.Receipt)
    wire.send(p.Goodbye())
    wire.send(p.Stats(seq=3))
    assert wire.read_until(p.Error).code == "hello_first"
    assert client.stats().clients == 1


def test_clients_that_hang_up_in_the_middle_leave_their_walks_to_be_resumed(server, client):
    with Client(server.address) as other:
        session = other.open(seed=2, ahead=16)
        token = other.token(session)
        other.hold(session, "move forward")
        other.next_frame(session)
    walk = RemoteSession.resume(client, token)
    index = walk.frame.index
    assert walk.step(FORWARD).index == index + 1


def come_and_go(server, num_clients: int, *, steps: int = 0, seconds: float = 0.0) -> None:
    """Clients open, walk and leave, some without a goodbye, for so many steps or so long."""
    rng, present, done = random.Random(3), [], 0
    end = time.monotonic() + seconds
    while done < steps or time.monotonic() < end:
        done += 1
        if len(present) < num_clients:
            client = Client(server.address)
            present.append((client, client.open(seed=rng.randrange(100))))
        client, session = rng.choice(present)
        client.step(session, FORWARD)
        if rng.random() < 0.15:
            present.remove((client, session))
            if rng.random() < 0.5:
                client.end(session)
            client.close()
    for client, session in present:
        assert client.step(session, FORWARD).frame.index > 0
        client.close()


def test_clients_come_and_go(server, client):
    come_and_go(server, 6, steps=60)
    assert client.stats().steps >= 60


@pytest.mark.soak(reason="a minute of clients that come and go")
def test_sixteen_clients_come_and_go_for_a_minute(server, client):
    come_and_go(server, 16, seconds=60.0)
    assert client.stats().steps > 16


class TestWithLittlePatience:
    """A server that forgets a silent client at once."""

    @pytest.fixture
    def limits(self):
        return Limits(patience_s=0.5)

    def test_a_client_that_is_silent_is_forgotten_and_told_so_when_it_speaks(self, server, wires):
        wire = wires()
        wire.greet()
        until(lambda: "roam_clients 0" in server.metrics_text())
        wire.send(p.Stats(seq=1))
        assert wire.read_until(p.Error).code == "hello_first"


class TestWithSmallLimits:
    """A server with small limits."""

    @pytest.fixture
    def limits(self):
        return Limits(
            max_clients=2, max_sessions=2, max_spectators=0, patience_s=60.0, messages_per_s=200.0, max_backlog=300
        )

    def test_one_client_too_many_is_refused(self, wires):
        a, b, c = wires(), wires(), wires()
        a.greet()
        b.greet()
        c.send(p.Hello(versions=(1,)))
        assert c.read_until(p.Error).code == "limit"

    def test_one_walk_too_many_is_refused(self, client):
        client.open()
        client.open()
        with pytest.raises(ServerError) as caught:
            client.open()
        assert caught.value.code == "limit"

    def test_one_spectator_too_many_is_refused(self, client, wires):
        session, wire = client.open(), wires()
        wire.greet()
        wire.send(p.Watch(seq=1, session=session))
        assert wire.read_until(p.Error).code == "limit"

    def test_messages_faster_than_they_are_read_wait_and_are_all_answered_in_order(self, wires):
        # the bucket once began empty and dropped the excess silently: an `open` right after hello had no answer
        wire = wires()
        wire.greet()
        for seq in range(1, 601):  # 200 a second, with two seconds' worth to begin with
            wire.send(p.Stats(seq=seq))
        assert [wire.read_until(p.Request).seq for _ in range(600)] == list(range(1, 601))

    def test_a_client_that_goes_on_too_fast_is_forgotten_and_told_so(self, wires, server):
        wire = wires()
        wire.greet()
        for _ in range(3000):
            wire.send(p.Ping())
        while wire.read_until(p.Error).code != "hello_first":  # "rate" comes first where the connection has room for it
            wire.send(p.Ping())
        assert server.metrics.refused == 1
        wire.greet()
