"""Everything that one guest may do to a server, and the frame rate of a neighbour who walks meanwhile."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
import time
from collections.abc import Callable

import zmq

from ...viewer.client.client import Client, ConnectionLostError, ServerError
from ...viewer.play.progress import counted
from ...viewer.wire import protocol as p
from ...viewer.wire.encoding import Look
from ...world.action import parse_action
from ...world.pose import Camera, Motion
from ...world.sight import Gaze
from .apart import apart
from .findings import Finding
from .nonsense import GREETING
from .served import Served, port_of
from .walkers import KEYS, Seen, Walker

KEPT_RATE = 0.5
ROUNDS = 2
WARM = 20  # frames of a first walk, which do not count
FORWARD = parse_action("move forward")
Hostile = Callable[[str, str, float], int]


def never_reads(address: str, _page: str, seconds: float) -> int:
    """Asks for frames, large ones where the world has them, and takes none."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger, dealer.rcvhwm = 0, 1
    dealer.connect(address)
    dealer.send_multipart(p.pack(p.Hello(versions=(1,))))
    dealer.send_multipart(p.pack(p.Open(seq=1, width=512, height=512, depth="f32", credits=16)))
    opened = None
    while not isinstance(opened, p.Opened):
        opened = p.unpack(dealer.recv_multipart(), p.SERVER_MESSAGES)[0]
        if isinstance(opened, p.Error):  # dreams have a size of their own
            dealer.send_multipart(p.pack(p.Open(seq=2, depth="f32", credits=16)))
    dealer.send_multipart(p.pack(p.Act(seq=3, session=opened.session, text="turn left")))
    count = _until(seconds, 0.1, lambda: dealer.send_multipart(p.pack(p.Credit(session=opened.session, frames=16))))
    context.destroy(linger=0)
    return count


def comes_and_says_nothing(address: str, _page: str, seconds: float) -> int:
    """Connects, says hello or not, and sends nothing more; connects again when it is cut."""
    lines = _Lines(port_of(address), 100)

    def look() -> None:
        lines.come_anew()
        for number, line in enumerate(lines.open):
            if number % 2:
                line.say(GREETING)

    count = _until(seconds, 1.0, look)
    lines.close()
    return count


def speaks_a_byte_at_a_time(address: str, page: str, seconds: float) -> int:
    """Says a greeting, or a request for the page, a byte at a time."""
    ports = [port_of(address), port_of(page)]
    lines = [_Lines(port, 60) for port in ports]
    texts = [GREETING, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"a" * 1000]

    def drip() -> None:
        for some, text in zip(lines, texts, strict=True):
            some.come_anew()
            for line in some.open:
                line.say(text[line.said : line.said + 1])

    count = _until(seconds, 0.3, drip)
    for some in lines:
        some.close()
    return count


def hoards_walks(address: str, _page: str, seconds: float) -> int:
    """Opens walks, as many and as fast as allowed, and drives none."""
    with _client(address) as client:
        return _until(seconds, 0.0, lambda: client.open(seed=1, ahead=0))


def hoards_connections(address: str, _page: str, seconds: float) -> int:
    """Holds as many connections as it can get, all of which have said hello."""
    context = zmq.Context()
    dealers = [context.socket(zmq.DEALER) for _ in range(400)]
    for dealer in dealers:
        dealer.linger = 0
        dealer.connect(address)
        dealer.send_multipart(p.pack(p.Hello(versions=(1,))))
    time.sleep(seconds)
    context.destroy(linger=0)
    return len(dealers)


def walks_at_1024(address: str, _page: str, seconds: float) -> int:
    """Walks at 1024 x 1024 with depth, as fast as it can."""
    with _client(address) as client:
        session = client.open(seed=3, size=(1024, 1024), look=Look("jpeg", depth="f32"), ahead=16)
        client.hold(session, "turn left")
        return _until(seconds, 0.0, lambda: client.next_frame(session))


def saves(address: str, _page: str, seconds: float) -> int:
    """Saves its walk repeatedly, under one name after another."""
    with _client(address) as client:
        session = client.open(seed=2)
        for key in KEYS * 4:
            client.step(session, key)
        names = iter(range(10**9))
        return _until(seconds, 0.0, lambda: client.save(session, f"save-{next(names) % 60}"))


def loads(address: str, _page: str, seconds: float) -> int:
    """Loads one save again and again, and closes the resulting walk."""
    with _client(address) as client:
        session = client.open(seed=2)
        for key in KEYS * 4:
            client.step(session, key)
        client.save(session, "here")
        return _until(seconds, 0.0, lambda: client.end(client.load("here")))


def forks_and_goes_back(address: str, _page: str, seconds: float) -> int:
    """Forks, walks, goes back, closes."""
    with _client(address) as client:
        session = client.open(seed=2)

        def go() -> None:
            client.step(session, FORWARD)
            client.end(client.fork(session))
            client.rewind(session, 1)

        return _until(seconds, 0.0, go)


def opens(address: str, _page: str, seconds: float) -> int:
    """Opens walks of many seeds, and closes each at once."""
    seeds = iter(range(10**9))
    with _client(address) as client:
        return _until(seconds, 0.0, lambda: client.end(client.open(seed=next(seeds) % 20)))


def begins_with_picture_bombs(address: str, _page: str, seconds: float) -> int:
    """Begins walks with pictures of 16 million pixels in 50 kB, eight at a time."""
    bomb = _picture_of(4096)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_client(address)) for _ in range(4)]
        counts = []

        def go(client: Client) -> None:
            counts.append(_until(seconds, 0.0, lambda: client.end(client.open(image=bomb))))

        threads = [threading.Thread(target=go, args=(client,)) for client in clients for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)


def walks(address: str, _page: str, seconds: float) -> int:
    """Walks on, as anybody does; its snapshots are written meanwhile."""
    with _client(address) as client:
        session = client.open(seed=2)
        keys = iter(range(10**9))
        return _until(seconds, 0.0, lambda: client.step(session, KEYS[next(keys) % len(KEYS)]))


def looks_from_all_sides(address: str, _page: str, seconds: float) -> int:
    """Looks at its walk with both eyes at 1024 x 1024, turning."""
    eyes, angles = Camera(1024, 1024, 90.0), iter(range(10**9))
    with _client(address) as client:
        session = client.open(seed=2)
        pose = client.step(session, FORWARD).frame.pose
        assert pose is not None, "a dream knows where it is"

        def go() -> None:
            turned = pose.moved(Motion(yaw_deg=6.0 * (next(angles) % 60)))
            client.look(session, Gaze(turned, eyes, ipd_m=0.06), encoding="jpeg")

        return _until(seconds, 0.0, go)


def floods_with_pings(address: str, _page: str, seconds: float) -> int:
    """Sends small messages as fast as they go out."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger, dealer.sndtimeo = 0, 1000
    dealer.connect(address)
    dealer.send_multipart(p.pack(p.Hello(versions=(1,))))
    ping = p.pack(p.Ping())

    def go() -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(100):
                dealer.send_multipart(ping)
        while dealer.poll(0):
            dealer.recv_multipart()

    count = _until(seconds, 0.0, go)
    context.destroy(linger=0)
    return 100 * count


def sends_endless_messages(address: str, _page: str, seconds: float) -> int:
    """Says hello, then sends one message that never ends, and connects again when it is cut."""
    hello = p.pack(p.Hello(versions=(1,)))[0]
    ready = b"\x04\x19\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    part = b"\x03" + struct.pack(">Q", 1 << 20) + bytes(1 << 20)

    def go() -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port_of(address)), 5) as line:
            line.sendall(GREETING + ready + b"\x02" + struct.pack(">Q", len(hello)) + hello)
            time.sleep(0.1)
            for _ in range(100):
                line.sendall(part)

    return _until(seconds, 0.2, go)


TRUTH: tuple[Hostile, ...] = (
    never_reads,
    comes_and_says_nothing,
    speaks_a_byte_at_a_time,
    hoards_walks,
    hoards_connections,
    walks_at_1024,
    saves,
    loads,
    forks_and_goes_back,
    opens,
    floods_with_pings,
    sends_endless_messages,
)
DREAM: tuple[Hostile, ...] = (
    walks,
    opens,
    begins_with_picture_bombs,
    saves,
    loads,
    forks_and_goes_back,
    looks_from_all_sides,
    never_reads,
    floods_with_pings,
)


def measure(*, seconds: float, is_truth: bool) -> list[Finding]:
    """Each of them for so long, ROUNDS times, beside a walk that is also walked alone."""
    world, findings = ("truth", "dream")[not is_truth], []
    ways = TRUTH if is_truth else DREAM
    for hostile in counted(ways, f"{world}: ways to trouble a neighbour", len(ways)):
        with Served(is_truth=is_truth, has_page=True) as served:
            findings.append(_beside(hostile, served, seconds, world))
    return findings


def _beside(hostile: Hostile, served: Served, seconds: float, world: str) -> Finding:
    """The rate that a hostile client leaves a walker: one walk is walked beside it and then alone, in turns, and the
    same steps of both are compared. The cost of a dream's step depends on the place, so other walks, or other parts
    of one, cannot be compared."""
    with Walker(served.address) as walker:
        walker.wait_for(WARM)
    rounds: list[tuple[float, float, int]] = []
    acts, memory_mb = 0, [served.memory_mb]
    seconds_each: list[float] = []
    for _ in range(ROUNDS):
        with Walker(served.address) as walker:
            walker.wait_for(1)
            done = apart(hostile, served.address, served.page, seconds)
            beside = walker.seen[:]
        memory_mb.append(served.memory_mb)
        with Walker(served.address) as walker:
            walker.wait_for(len(beside))
            alone = walker.seen[:]
        rounds.append(same_steps(beside, alone, done.began, done.ended))
        acts += done.value
        seconds_each.append(round(done.ended - done.began, 1))
    during_s, quiet_s = sum(during for during, _, _ in rounds), sum(quiet for _, quiet, _ in rounds)
    kind = f"{world}, beside one that {hostile.__name__.replace('_', ' ')}: the walker's rate, during / quiet"
    return Finding.at_least(
        kind,
        quiet_s / during_s if served.is_alive and during_s else 0.0,
        KEPT_RATE,
        "times",
        quiet_per_s=[round(steps / quiet, 2) for _, quiet, steps in rounds],
        during_per_s=[round(steps / during, 2) for during, _, steps in rounds],
        seconds=seconds_each,
        acts=acts,
        memory_mb=memory_mb,
        what=" ".join((hostile.__doc__ or "").split()),
    )


def same_steps(beside: list[Seen], alone: list[Seen], began: float, ended: float) -> tuple[float, float, int]:
    """The seconds that the steps of a period took, the seconds that the same steps took alone, and how many they
    are. The last one counts partly: a walker that gets no frame at all has a rate near zero."""
    times, quiet = [seen.at for seen in beside], [seen.at for seen in alone]
    inside = [k for k in range(1, min(len(times), len(quiet))) if times[k - 1] >= began and times[k] <= ended]
    if not inside:
        return ended - began, min(quiet[1] - quiet[0], ended - began), 1
    first, last = inside[0] - 1, inside[-1]
    next_s = quiet[last + 1] - quiet[last] if last + 1 < len(quiet) else ended - times[last]
    waited_s = max(0.0, ended - times[last] - next_s)
    return times[last] - times[first] + waited_s, quiet[last] - quiet[first], len(inside)


def _until(seconds: float, pause_s: float, act: Callable[[], object]) -> int:
    """Act repeatedly for so long; returns how often. Refusals are part of the attack."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        try:
            act()
            count += 1
        except (ServerError, ConnectionLostError, TimeoutError):
            time.sleep(0.05)
        time.sleep(pause_s)
    return count


def _client(address: str) -> Client:
    return Client(address, timeout_s=120.0)


def _picture_of(side: int) -> bytes:
    """A black PNG of so many pixels a side, in as few bytes as may be."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (side, side)).save(out, "PNG", compress_level=9)
    return out.getvalue()


class _Line:
    """A bare connection; said: bytes sent so far."""

    def __init__(self, port: int):
        self.socket, self.said = socket.create_connection(("127.0.0.1", port), timeout=5), 0
        self.socket.setblocking(False)

    def say(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # cut meanwhile, or full
            self.said += self.socket.send(data)

    @property
    def is_cut(self) -> bool:
        try:
            return not self.socket.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True


class _Lines:
    """So many bare connections to a port of this machine."""

    def __init__(self, port: int, count: int):
        self._port, self._count = port, count
        self.open: list[_Line] = []

    def come_anew(self) -> None:
        for line in [line for line in self.open if line.is_cut]:
            line.socket.close()
            self.open.remove(line)
        with contextlib.suppress(OSError):
            while len(self.open) < self._count:
                self.open.append(_Line(self._port))

    def close(self) -> None:
        for line in self.open:
            line.socket.close()
