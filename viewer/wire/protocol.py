"""Protocol 3: the messages between viewer and server, one frozen dataclass each; docs/protocol.md explains them.

A message is [msgpack header] or [msgpack header][raw payload]. Limits are checked before anything is unpacked, unknown
keys are ignored, nothing is unpickled. Knows no socket, no session and no world.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import ClassVar

import msgpack

from ...world.action import MAX_TEXT
from .fields import HEX, MAX_WHOLE, NAME, FieldError, choice, flag, numbers, real, text, texts, whole, wholes
from .from_clusters import Queued, Resumed
from .header import read_header
from .looking import Dream, Look, PiecesHead, SightHead, Surfaces
from .message import ERROR_CODES as ERROR_CODES  # re-exported for everybody who uses the protocol
from .message import (
    MAX_CREDITS,
    MAX_IMAGE,
    MAX_PAYLOAD,
    MAX_PLACE_M,
    MAX_SIDE,
    MAX_STEP_M,
    MAX_TURN_DEG,
    VERSIONS,
    Message,
    ProtocolError,
    Request,
    Viewing,
    session_id,
)
from .message import MAX_HEADER as MAX_HEADER
from .message import MAX_PART as MAX_PART

# Client to server.


@dataclass(frozen=True, kw_only=True)
class Hello(Message):
    """The first message on a connection: the versions that the client speaks, best first, and its name for logs."""

    TYPE: ClassVar[str] = "hello"
    versions: tuple[int, ...] = wholes(16, 2**31)
    client: str = text(120, default="")


@dataclass(frozen=True, kw_only=True)
class Open(Viewing):
    """Begin a walk. world: a family of scenes or "", the server's first; the payload, if any, is a first image."""

    TYPE: ClassVar[str] = "open"
    MAX_PAYLOAD: ClassVar[int] = MAX_IMAGE
    model: str = text(120, default="")
    world: str = text(120, default="")
    seed: int = whole(default=0)
    text: str = text(MAX_TEXT, default="")
    width: int = whole(0, MAX_SIDE, default=0)
    height: int = whole(0, MAX_SIDE, default=0)


@dataclass(frozen=True, kw_only=True)
class Load(Viewing):
    """Begin a walk from a save. The save itself does not change. token: that of the walk that was saved, or "" for
    any walk that this connection has opened or resumed."""

    TYPE: ClassVar[str] = "load"
    name: str = text(64, pattern=NAME)
    token: str = text(64, pattern=HEX, default="")


@dataclass(frozen=True, kw_only=True)
class Resume(Viewing):
    """Resume one's own walk on a new connection. Whoever has the token drives; the previous connection loses the
    walk."""

    TYPE: ClassVar[str] = "resume"
    token: str = text(64, pattern=HEX)


@dataclass(frozen=True, kw_only=True)
class Watch(Viewing):
    """Watch somebody's walk without driving it."""

    TYPE: ClassVar[str] = "watch"
    session: str = session_id()


@dataclass(frozen=True, kw_only=True)
class Act(Message):
    """hold: what the held keys mean, until the next hold; "" for none. once: typed words, queued, one step each.

    motion: forward, right (metres), yaw left, pitch up (degrees), or empty: then the server reads it from the text, and
    refuses what it cannot read unless the walk's model reads words of its own. seq counts up; a once whose seq was seen
    before gets its receipt again and is not done again. clock: the client's, echoed.
    """

    TYPE: ClassVar[str] = "act"
    seq: int = whole()
    session: str = session_id()
    mode: str = choice("hold", "once", default="hold")
    text: str = text(MAX_TEXT, default="")
    motion: tuple[float, ...] = numbers(0, 4, most=(MAX_STEP_M, MAX_STEP_M, MAX_TURN_DEG, MAX_TURN_DEG), default=())
    clock: float = real(default=0.0)


@dataclass(frozen=True, kw_only=True)
class Credit(Message):
    """The client can take this many frames more."""

    TYPE: ClassVar[str] = "credit"
    session: str = session_id()
    frames: int = whole(1, MAX_CREDITS, default=1)


@dataclass(frozen=True, kw_only=True)
class Fork(Viewing):
    """Begin a second walk at the same point; answered by its own `opened`."""

    TYPE: ClassVar[str] = "fork"
    session: str = session_id()


@dataclass(frozen=True, kw_only=True)
class Rewind(Request):
    """Undo this many steps; the current frame after that is sent when credit allows."""

    TYPE: ClassVar[str] = "rewind"
    session: str = session_id()
    frames: int = whole(0, MAX_WHOLE)


@dataclass(frozen=True, kw_only=True)
class Save(Request):
    """Write the walk under a name of the client's choice, on the server; it belongs to whoever has the walk's token."""

    TYPE: ClassVar[str] = "save"
    session: str = session_id()
    name: str = text(64, pattern=NAME)


@dataclass(frozen=True, kw_only=True)
class Close(Request):
    """End the walk and forget it (its driver), or stop watching (a spectator)."""

    TYPE: ClassVar[str] = "close"
    session: str = session_id()


@dataclass(frozen=True, kw_only=True)
class Ping(Message):
    """A sign of life. A client that is silent for the `patience_s` of `welcome` counts as gone."""

    TYPE: ClassVar[str] = "ping"
    clock: float = real(default=0.0)


@dataclass(frozen=True, kw_only=True)
class Stats(Request):
    """Ask for the server's counters."""

    TYPE: ClassVar[str] = "stats"


@dataclass(frozen=True, kw_only=True)
class Record(Request):
    """A frame that a game sends of itself, for models to learn from; its payload is the picture, then the depth.

    game: its folder's name; world: the level, which belongs to one split; rollout: a number of the sender's choice,
    whose frames follow each other; last: this frame ends it. text, motion: what led here from the previous frame.
    fov_deg: the picture's angle across; pose: as a frame's, or empty. jpeg: a JPEG, PNG or WebP file.
    """

    TYPE: ClassVar[str] = "record"
    MAX_PAYLOAD: ClassVar[int] = MAX_IMAGE
    game: str = text(64, pattern=NAME)
    world: str = text(120, default="")
    licence: str = text(200, default="")
    split: str = choice("train", "dev", "test", default="train")
    rollout: int = whole(default=0)
    last: bool = flag(default=False)
    width: int = whole(1, MAX_SIDE)
    height: int = whole(1, MAX_SIDE)
    encoding: str = choice("raw", "jpeg", default="raw")
    depth: str = choice("", "f32", "u16mm", default="")
    fov_deg: float = real(1, 179)
    pose: tuple[float, ...] = numbers(0, 7, most=(*[MAX_PLACE_M] * 3, 2, 2, 2, 2), default=())
    text: str = text(MAX_TEXT, default="")
    motion: tuple[float, ...] = numbers(0, 4, most=(MAX_STEP_M, MAX_STEP_M, MAX_TURN_DEG, MAX_TURN_DEG), default=())


# Server to client; goodbye is sent by both.


@dataclass(frozen=True, kw_only=True)
class Welcome(Message):
    """The answer to hello: the version that both speak from here on, what can be opened, and the limits. fov_deg:
    the angle across of the frames of every world here, which turns depth into points; 0 if it is not known. records:
    games may send frames of themselves."""

    TYPE: ClassVar[str] = "welcome"
    version: int = whole(1, 2**31)
    server: str = text(120, default="")
    models: tuple[str, ...] = texts(256, 120, default=())
    worlds: tuple[str, ...] = texts(256, 120, default=())
    max_credits: int = whole(default=MAX_CREDITS)
    max_image: int = whole(default=MAX_IMAGE)
    patience_s: float = real(low=0, default=10.0)
    snapshot_frames: int = whole(default=0)
    fov_deg: float = real(0, 180, default=0.0)
    records: bool = flag(default=False)


@dataclass(frozen=True, kw_only=True)
class Opened(Request):
    """A walk is ready. token: the secret that resumes it, empty for spectators. last: the seq of the last once."""

    TYPE: ClassVar[str] = "opened"
    session: str = session_id()
    token: str = text(64, pattern=HEX, default="")
    index: int = whole(default=0)
    last: int = whole(default=0)


@dataclass(frozen=True, kw_only=True)
class Receipt(Message):
    """The result of an act: applied in that frame, superseded by a later hold, or refused for the reason given."""

    TYPE: ClassVar[str] = "receipt"
    session: str = session_id()
    seq: int = whole()
    status: str = choice("applied", "superseded", "refused")
    frame: int = whole(default=0)
    reason: str = text(600, default="")


@dataclass(frozen=True, kw_only=True)
class FrameHead(Message):
    """A frame; its payload is the pixels, then the depth, then the tokens; their byte counts are given.

    action, seq, clock: the act that led here, its number and its clock. skipped: frames that this viewer did not get
    since its last one. pose: x, y, z metres, then w, x, y, z, or empty. digest: Frame.digest of the frame before
    encoding. Times: queue_ms from the act's arrival to its step, step_ms of the world, encode_ms; warp to commit are
    parts of step_ms.
    """

    TYPE: ClassVar[str] = "frame"
    MAX_PAYLOAD: ClassVar[int] = MAX_PAYLOAD
    session: str = session_id()
    index: int = whole()
    action: str = text(MAX_TEXT, default="")
    seq: int = whole(default=0)
    clock: float = real(default=0.0)
    skipped: int = whole(default=0)
    width: int = whole(1, MAX_SIDE)
    height: int = whole(1, MAX_SIDE)
    encoding: str = choice("raw", "jpeg")
    pixel_bytes: int = whole(0, MAX_PAYLOAD)
    depth: str = choice("", "f32", "u16mm", default="")
    depth_bytes: int = whole(0, MAX_PAYLOAD, default=0)
    grid: tuple[int, ...] = wholes(2, MAX_SIDE, default=())
    token_bytes: int = whole(0, MAX_PAYLOAD, default=0)
    pose: tuple[float, ...] = numbers(0, 7, most=(*[MAX_PLACE_M] * 3, 2, 2, 2, 2), default=())
    digest: str = text(64, pattern=HEX, default="")
    queue_ms: float = real(low=0, default=0.0)
    step_ms: float = real(low=0, default=0.0)
    warp_ms: float = real(low=0, default=0.0)
    denoise_ms: float = real(low=0, default=0.0)
    decode_ms: float = real(low=0, default=0.0)
    commit_ms: float = real(low=0, default=0.0)
    encode_ms: float = real(low=0, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Done(Request):
    """A rewind, save or close is done; index: of the current frame after it."""

    TYPE: ClassVar[str] = "done"
    session: str = session_id()
    index: int = whole(default=0)


@dataclass(frozen=True, kw_only=True)
class Recorded(Request):
    """A frame is stored. walks: whole files of the game so far; left: frames of a rollout that has ended, too few
    for another file."""

    TYPE: ClassVar[str] = "recorded"
    walks: int = whole(default=0)
    left: int = whole(default=0)


@dataclass(frozen=True, kw_only=True)
class Pong(Message):
    """The answer to ping; clock is the ping's own."""

    TYPE: ClassVar[str] = "pong"
    clock: float = real(default=0.0)


@dataclass(frozen=True, kw_only=True)
class Statistics(Request):
    """Counters since the server began, and current numbers: sessions in memory and parked, clients; step_ms over the
    last 512 steps."""

    TYPE: ClassVar[str] = "statistics"
    uptime_s: float = real(low=0, default=0.0)
    clients: int = whole(default=0)
    sessions: int = whole(default=0)
    parked: int = whole(default=0)
    steps: int = whole(default=0)
    frames_sent: int = whole(default=0)
    frames_skipped: int = whole(default=0)
    errors: int = whole(default=0)
    step_p50_ms: float = real(low=0, default=0.0)
    step_p95_ms: float = real(low=0, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Error(Message):
    """A refusal; seq is that of the refused message, or 0 if it could not be read. The connection stays open."""

    TYPE: ClassVar[str] = "error"
    seq: int = whole(default=0)
    code: str = text(40)
    message: str = text(600, default="")
    session: str = session_id(default="")


@dataclass(frozen=True, kw_only=True)
class Goodbye(Message):
    """From a server: it closes; every walk is saved and can be resumed when it is back. From a client: it
    disconnects."""

    TYPE: ClassVar[str] = "goodbye"
    reason: str = text(200, default="")


def _by_type(*classes: type[Message]) -> dict[str, type[Message]]:
    return {c.TYPE: c for c in classes}


CLIENT_MESSAGES = _by_type(
    Hello,
    Open,
    Load,
    Resume,
    Watch,
    Act,
    Credit,
    Look,
    Surfaces,
    Dream,
    Fork,
    Rewind,
    Save,
    Close,
    Ping,
    Stats,
    Record,
    Goodbye,
)
SERVER_MESSAGES = _by_type(
    Welcome,
    Opened,
    Receipt,
    FrameHead,
    SightHead,
    PiecesHead,
    Done,
    Recorded,
    Pong,
    Statistics,
    Error,
    Queued,
    Resumed,
    Goodbye,
)
MESSAGES = CLIENT_MESSAGES | SERVER_MESSAGES


def pack(message: Message, payload: bytes | memoryview = b"") -> list[bytes | memoryview]:
    """The parts to send: [header], or [header, payload] if there is a payload."""
    header = {"v": message.SINCE, "type": message.TYPE}
    header.update((f.name, getattr(message, f.name)) for f in fields(message))
    packed = msgpack.packb(header, use_bin_type=True)
    return [packed, payload] if len(payload) else [packed]


def unpack(parts: Sequence, known: Mapping[str, type[Message]]) -> tuple[Message, bytes | memoryview]:
    """The message in these parts and its payload (b"" for none). Raises ProtocolError on anything else.

    parts: bytes-like, header first; known: CLIENT_MESSAGES on a server, SERVER_MESSAGES on a client.
    """
    if not 1 <= len(parts) <= 2:
        raise ProtocolError("malformed", f"a message of {len(parts)} parts; wanted a header and at most one payload")
    header = read_header(parts[0])
    payload = parts[1] if len(parts) == 2 else b""
    seq = header.get("seq")
    seq = seq if type(seq) is int and 0 <= seq <= MAX_WHOLE else 0
    kind = known.get(header["type"])
    if kind is None:
        raise ProtocolError("unknown_type", f"unknown type {header['type'][:40]!r}; known: {', '.join(known)}", seq=seq)
    if len(payload) > kind.MAX_PAYLOAD:
        message = f"{len(payload)} bytes after a {kind.TYPE}; wanted at most {kind.MAX_PAYLOAD}"
        raise ProtocolError("too_large", message, seq=seq)
    return _built(kind, header, seq), payload


def chosen_version(hello: Hello) -> int:
    """The best version that both sides speak. Raises ProtocolError if there is none."""
    spoken = [version for version in VERSIONS if version in hello.versions]
    if not spoken:
        ours = " and ".join(map(str, VERSIONS))
        raise ProtocolError("version", f"the client speaks {list(hello.versions)}; this server speaks {ours}")
    return spoken[0]


def _built(kind: type[Message], header: dict, seq: int) -> Message:
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.name not in header]
    if missing:
        raise ProtocolError("malformed", f"{kind.TYPE} without '{missing[0]}'", seq=seq)
    try:
        return kind(**{f.name: header[f.name] for f in fields(kind) if f.name in header})
    except FieldError as error:
        raise ProtocolError("malformed", str(error), seq=seq) from error
