"""The clients and walks of a server: who is connected, who sees which walk, how many frames each may be sent.

Used by one thread only, the one with the socket, so there are no locks. Takes no steps and sends nothing.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property

from ...world.frame import Frame
from ..wire.encoding import Encoded, Look, encode
from ..wire.protocol import MAX_CREDITS, FrameHead, ProtocolError, Viewing
from .command_queue import Command, CommandQueue
from .threads.stepper import ENGINE


@dataclass(frozen=True)
class Limits:
    """What one server allows. Times are in seconds unless the name says otherwise."""

    max_clients: int = 256  # that have said hello
    max_strangers: int = 64  # connections that have not said hello
    max_connections_each: int = 64  # connections from any one other machine
    hello_s: float = 10.0  # how long a connection may be silent before it has said hello
    max_sessions: int = 1024  # walks that are stored, all together
    max_driven: int = 128  # walks that one client drives at a time
    max_kept_each: int = 512  # walks that are stored for one key or address
    max_kept_bytes_each: int = 8 * 2**30  # bytes of those walks on the disk
    opens_per_s: float = 4.0  # walks begun by one key or address, after the first hundred
    max_picture_bytes: int = 64 * 2**20  # of all first images together that wait to be read
    max_record_bytes: int = 16 * 2**30  # bytes of all recordings that games have sent
    max_refusals: int = 5000  # messages refused before hello until their connection is cut
    max_awake: int = 64  # walks in memory
    max_spectators: int = 64  # of one walk
    max_jobs: int = 8  # requests of one client that wait at the same time
    max_looks: int = 4  # looks of one client that wait at the same time
    messages_per_s: float = 4000.0  # messages a second of one client; faster ones wait
    max_backlog: int = 4000  # messages of one client that may wait
    max_backlog_bytes: int = 16 * 2**20  # of those messages
    max_outbox: int = 4000  # unsent answers of a client that does not read
    park_s: float = 300.0  # a walk without a step for this long is moved to disk
    left_s: float = 30.0  # the same for a walk that nobody sees
    patience_s: float = 10.0  # a client that was silent for this long counts as gone
    keep_s: float = 30 * 86400.0  # a walk that nobody resumed for this long makes room for others
    unused_s: float = 60.0  # a walk in which nothing was done makes room after this long
    snapshot_frames: int = 30  # steps between two small snapshots, and before the log is synced
    batch_ms: float = 0.0  # how long the steps of one batch may take; 0: all that wait are one batch
    snapshot_bytes: int = 2**20  # bytes written per frame on average: larger snapshots are taken less often


@dataclass
class Published:
    """A frame to be sent to every viewer. It is encoded once for each form that is asked for (encoding, size)."""

    session: str
    frame: Frame
    command: Command | None = None
    queue_ms: float = 0.0
    step_ms: float = 0.0
    encoded: dict[Look, Encoded] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        return self.frame.digest

    def message(self, look: Look, skipped: int) -> tuple[FrameHead, bytes | memoryview]:
        """The frame message for one viewer."""
        if look not in self.encoded:
            self.encoded[look] = encode(self.frame, look)
        done, timing, command = self.encoded[look], self.frame.timing, self.command
        head = FrameHead(
            session=self.session,
            index=self.frame.index,
            skipped=skipped,
            digest=self.digest,
            action=command.action.text[:400] if command else "",
            seq=command.seq if command else 0,
            clock=command.clock if command else 0.0,
            queue_ms=self.queue_ms,
            step_ms=self.step_ms,
            warp_ms=timing.warp_ms,
            denoise_ms=timing.denoise_ms,
            decode_ms=timing.decode_ms,
            commit_ms=timing.commit_ms,
            **done.fields,
        )
        return head, done.payload


@dataclass
class Viewer:
    """One client that sees one walk. waiting: frames not sent yet; a spectator keeps only the newest of them, a driver
    as many as credits can ask for. num_tries: how often the oldest of them found no room in its connection; tried_at:
    when it did so last."""

    look: Look
    credits: int
    is_driver: bool
    waiting: deque[Published] = field(default_factory=deque)
    skipped: int = 0
    num_tries: int = 0
    tried_at: float = 0.0

    @staticmethod
    def of(view: Viewing, *, is_driver: bool) -> Viewer:
        return Viewer(Look.of(view), view.credits, is_driver)

    @property
    def is_full(self) -> bool:
        """Whether its connection had no room for the oldest frame that waits: it does not read, or not fast enough."""
        return self.num_tries > 0

    @property
    def has_room(self) -> bool:
        """Whether a frame that is begun now could be sent as soon as it is made. Credits alone do not say so: a client
        may grant them without ever reading."""
        return not self.is_full and self.credits > len(self.waiting)

    def grant(self, frames: int) -> None:
        self.credits = min(MAX_CREDITS, self.credits + frames)

    def show(self, published: Published) -> None:
        """Let it have a frame. A driver's frames are dropped only if it rewinds again and again without a credit: no
        step is taken whose frame could not be sent."""
        self.waiting.append(published)
        while len(self.waiting) > (MAX_CREDITS if self.is_driver else 1):
            self.waiting.popleft()
            self.skipped += 1


@dataclass
class ServedWalk:
    """A walk. is_stepping: a step is being made or has been asked for; jobs: how many other pieces of work on it are
    not done yet; is_used: whether anything was ever done in it; guest: who began it, for quotas."""

    id: str
    secret: str
    controls: CommandQueue
    driver: bytes | None = None
    viewers: dict[bytes, Viewer] = field(default_factory=dict)
    latest: Published | None = None
    is_stepping: bool = False
    is_parked: bool = False
    is_parking: bool = False
    is_alone: bool = False
    is_used: bool = False
    jobs: int = 0
    looks: int = 0  # looks into it that are not answered yet
    guest: str = ""
    active_at: float = field(default_factory=time.monotonic)

    @property
    def strand(self) -> str:
        """The strand in which work on this walk is done in order (stepper.py)."""
        return self.id if self.is_alone else ENGINE

    @property
    def index(self) -> int:
        return self.latest.frame.index if self.latest else 0

    @property
    def wants_step(self) -> bool:
        """Whether a step should be taken: there is a command, a driver, and a credit for the frame."""
        if self.is_stepping or self.jobs or self.driver is None or not self.controls.has_work:
            return False
        return self.viewers[self.driver].has_room

    @property
    def idle_s(self) -> float:
        """Seconds since it was last driven, or since its driver left."""
        return time.monotonic() - self.active_at

    def leave(self, client: bytes) -> None:
        """Take note that a client no longer sees or drives this walk."""
        if self.viewers.pop(client, None):
            self.active_at = time.monotonic()
        if self.driver == client:
            self.driver = None
            self.controls.release()
        self.put_by()

    def put_by(self) -> None:
        """Forget the frame of a walk that is on the disk and that nobody sees; a later look reads the walk from the
        disk."""
        if self.is_parked and not self.viewers:
            self.latest = None


@dataclass
class Client:
    """A client. Its routing id says where answers go, and proves nothing about who it is.

    outbox: packed answers that could not be sent yet; backlog: messages that came faster than they may be handled.
    """

    id: bytes
    name: str = ""
    version: int = 1
    seen_at: float = field(default_factory=time.monotonic)
    allowance: float = math.inf  # full at first: a delayed client's first messages arrive all at once
    filled_at: float = 0.0
    guest: str = ""
    number: int = 0  # of its connection
    jobs: int = 0  # requests that are not answered yet
    looks: int = 0  # looks that are not answered yet
    secrets: deque[str] = field(default_factory=lambda: deque(maxlen=256))  # of walks that it has driven
    outbox: deque[list] = field(default_factory=deque)
    backlog: deque[list[bytes]] = field(default_factory=deque)
    backlog_bytes: int = 0

    def may_speak(self, per_s: float) -> bool:
        """Whether one more message may be handled now. A token bucket that holds two seconds' worth of messages."""
        now = time.monotonic()
        self.allowance = min(2 * per_s, self.allowance + (now - self.filled_at) * per_s)
        self.filled_at = now
        if self.allowance < 1:
            return False
        self.allowance -= 1
        return True

    def put_off(self, parts: list[bytes]) -> None:
        """Append a message to the backlog."""
        self.backlog.append(parts)
        self.backlog_bytes += sum(map(len, parts))

    def take_up(self) -> list[bytes]:
        """Take the oldest message from the backlog."""
        parts = self.backlog.popleft()
        self.backlog_bytes -= sum(map(len, parts))
        return parts


def secret_of(token: str) -> str:
    """The hash of a token. Tokens themselves are not stored, so a stolen folder gives access to no walk."""
    return hashlib.sha256(token.encode()).hexdigest()


class Registry:
    """Every walk, by its public id and by the hash of its token. touched: ids of the walks to look after in this
    turn."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.sessions: dict[str, ServedWalk] = {}
        self.touched: set[str] = set()
        self._by_secret: dict[str, ServedWalk] = {}

    def add(self, session: ServedWalk) -> ServedWalk:
        self.sessions[session.id] = self._by_secret[session.secret] = session
        return session

    def remove(self, session: ServedWalk) -> None:
        self.sessions.pop(session.id, None)
        self._by_secret.pop(session.secret, None)

    def with_token(self, token: str) -> ServedWalk:
        session = self._by_secret.get(secret_of(token))
        if session is None:
            raise ProtocolError("unknown_session", "no walk has that token; it was closed, or is kept elsewhere")
        return session

    def known(self, name: str) -> ServedWalk:
        if name not in self.sessions:
            raise ProtocolError("unknown_session", f"no walk '{name}' here")
        return self.sessions[name]

    def driven(self, name: str, client: bytes) -> ServedWalk:
        """The walk of that id. Raises ProtocolError if there is none, or the client does not drive it."""
        session = self.known(name)
        if session.driver != client:
            raise ProtocolError("not_yours", f"you do not drive {name}; resume it with its token")
        session.active_at = time.monotonic()
        self.touched.add(name)
        return session

    def seat(self, session: ServedWalk, client: bytes, view: Viewing, frame: Frame) -> None:
        """Let a client drive, and show it the frame there is."""
        session.driver = client
        session.viewers[client] = Viewer.of(view, is_driver=True)
        session.active_at = time.monotonic()
        self.publish(session, Published(session.id, frame))

    def publish(self, session: ServedWalk, published: Published) -> None:
        """Give a frame to everyone who sees the walk."""
        session.latest = published
        for viewer in session.viewers.values():
            viewer.show(published)
        self.touched.add(session.id)

    def leave(self, client: bytes) -> None:
        """Remove a client that is gone from every walk that it saw or drove."""
        for session in self.sessions.values():
            session.leave(client)

    def driven_by(self, client: bytes) -> int:
        return sum(session.driver == client for session in self.sessions.values())

    def of(self, guest: str) -> list[ServedWalk]:
        """The walks that a guest has begun."""
        return [session for session in self.sessions.values() if session.guest == guest]

    def to_make_room(self, guest: str = "", *, kept_bytes: int = 0) -> ServedWalk | None:
        """The walk to forget so that a guest, whose walks take kept_bytes on the disk, can begin another; None if
        there is room. Walks in which nothing was done go first, then the one that was not used for longest. Raises
        ProtocolError if all are in use."""
        theirs = self.of(guest)
        is_full = len(self.sessions) >= self.limits.max_sessions
        is_large = kept_bytes >= self.limits.max_kept_bytes_each
        if not is_full and not is_large and len(theirs) < self.limits.max_kept_each:
            return None
        left = [session for session in (self.sessions.values() if is_full else theirs) if session.driver is None]
        unused = [session for session in left if not session.is_used and session.idle_s > self.limits.unused_s]
        old = [session for session in left if session.idle_s > self.limits.keep_s]
        if not unused and not old:
            held = f"{len(self.sessions)} walks are kept here" if is_full else f"{len(theirs)} of your walks are kept"
            held += f", {kept_bytes >> 20} MB" if is_large else ""
            raise ProtocolError("limit", f"{held}; no more: close some")
        return min(unused or old, key=lambda session: session.active_at)
