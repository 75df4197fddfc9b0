"""What a client knows of one walk on a server: its newest frame, the credits that it owes, acts without a receipt.

Locks nothing and sends nothing: that is the client's business (client.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ...world.action import Action
from ...world.frame import Frame
from ...world.records import motion_row, pose_row
from ..wire import protocol as p
from ..wire.encoding import Look, decode


class ServerError(ValueError):
    """The server refused; `code` is one of protocol.ERROR_CODES."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{message} [{code}]")
        self.code = code


def act_of(seq: int, session: str, action: Action, *, mode: str = "once") -> p.Act | p.Dream:
    """The message that tells a walk an action."""
    if action.at is not None:
        return p.Dream(seq=seq, session=session, pose=tuple(pose_row(action.at)), clock=time.monotonic())
    motion = () if action.motion is None else tuple(motion_row(action.motion))
    return p.Act(seq=seq, session=session, mode=mode, text=action.text, motion=motion, clock=time.monotonic())


@dataclass(frozen=True)
class Received:
    """A frame and what came with it. latency_ms: from the act that led to it to its arrival, on this side's clock."""

    frame: Frame
    head: p.FrameHead
    latency_ms: float | None


@dataclass(frozen=True)
class Arrived:
    """A frame message as it came, at that time of this side's clock; it is decoded when somebody looks at it."""

    head: p.FrameHead
    payload: bytes | memoryview
    at: float = field(default_factory=time.monotonic)

    @property
    def received(self) -> Received:
        latency_ms = (self.at - self.head.clock) * 1000 if self.head.clock else None
        return Received(decode(self.head, self.payload), self.head, latency_ms)


@dataclass
class WalkState:
    """One session. view: how its frames were asked for; owed: credits of frames that came and were not granted again.

    is_seated: the server knows that this connection has the walk; until it does, acts wait in `typed` and `held`.
    is_eager: somebody waits for a step, and frames are taken as they come. failure: why there will be no more frames.
    resumed: the times that a cluster took it up elsewhere.
    """

    id: str
    token: str
    view: p.Viewing
    newest: Arrived | None = None
    taken: Arrived | None = None
    owed: int = 0
    is_seated: bool = False
    is_eager: bool = False
    held: p.Act | p.Dream | None = None
    typed: dict[int, p.Act | p.Dream] = field(default_factory=dict)
    receipts: dict[int, p.Receipt] = field(default_factory=dict)
    failure: ServerError | None = None
    resumed: list[p.Resumed] = field(default_factory=list)

    @property
    def looks(self) -> dict:
        """The fields of a Viewing that ask for frames in the same way."""
        return {name: getattr(self.view, name) for name in ("encoding", "quality", "depth", "tokens", "credits")}

    @property
    def index(self) -> int:
        """The index of the frame taken last, -1 before the first."""
        return self.taken.head.index if self.taken else -1

    @property
    def unfinished(self) -> list[p.Act | p.Dream]:
        """What a server that comes back must be told again: typed words without a receipt, then what is held."""
        return [*self.typed.values(), *([self.held] if self.held else [])]

    def has(self, index: int | None) -> bool:
        """Whether a frame waits that was not taken yet or, where an index is given, whether that frame is here."""
        if index is None:
            return self.newest is not None
        return index == self.index or (self.newest is not None and index == self.newest.head.index)

    def show(self, head: p.FrameHead, payload: bytes | memoryview) -> None:
        """A frame has come; it replaces one that nobody has taken."""
        self.newest = Arrived(head, payload)
        self.owed += 1

    def take(self) -> int:
        """Take the newest frame, if there is one; returns the credits to grant for what came."""
        if self.newest:
            self.taken, self.newest = self.newest, None
        owed, self.owed = self.owed, 0
        return owed

    def note(self, news: p.Receipt | p.Resumed) -> None:
        """Take note of a receipt, or that a cluster has taken this walk up elsewhere, maybe from an earlier frame."""
        if isinstance(news, p.Resumed):
            self.resumed.append(news)
            self.taken = None if self.index > news.index else self.taken
        elif self.typed.pop(news.seq, None):
            self.receipts[news.seq] = news

    def seat(self, opened: p.Opened) -> None:
        """The server has this walk ready for this connection; credits of the one before are void."""
        self.id, self.token, self.owed, self.is_seated = opened.session, opened.token, 0, True


def wanted_view(look: Look | None, ahead: int) -> dict:
    """The fields of a Viewing for frames of that kind, of which `ahead` may be under way; None: as Look has it."""
    look = look or Look()
    return {
        "encoding": look.encoding,
        "quality": look.quality,
        "depth": look.depth,
        "tokens": look.tokens,
        "credits": ahead,
    }
