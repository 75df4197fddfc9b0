"""What a client knows of one walk on a server: its newest frame, the credits to be granted, acts without a receipt.

Takes no locks and sends nothing: that is client.py's task.
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
    """The message that sends an action to a walk."""
    if action.at is not None:
        return p.Dream(seq=seq, session=session, pose=tuple(pose_row(action.at)), clock=time.monotonic())
    motion = () if action.motion is None else tuple(motion_row(action.motion))
    return p.Act(seq=seq, session=session, mode=mode, text=action.text, motion=motion, clock=time.monotonic())


@dataclass(frozen=True)
class Received:
    """A frame and what came with it. latency_ms: from sending the act that led to it to its arrival, on this
    machine's clock."""

    frame: Frame
    head: p.FrameHead
    latency_ms: float | None


@dataclass(frozen=True)
class Arrived:
    """A frame message as it arrived, with the time of arrival on this machine's clock. It is decoded when somebody
    asks for it."""

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

    is_seated: the server knows that this connection has the walk; until then acts wait in `typed` and `held`. is_eager:
    somebody waits for a step, and frames are taken as they come. failure: why no more frames will come. resumed: how
    many times a cluster has moved it to another worker.
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
        """The fields of a Viewing message that ask for the same kind of frames."""
        return {name: getattr(self.view, name) for name in ("encoding", "quality", "depth", "tokens", "credits")}

    @property
    def index(self) -> int:
        """The index of the frame taken last, -1 before the first."""
        return self.taken.head.index if self.taken else -1

    @property
    def unfinished(self) -> list[p.Act | p.Dream]:
        """What must be sent again to a server that comes back: typed words without a receipt, then the held keys."""
        return [*self.typed.values(), *([self.held] if self.held else [])]

    def has(self, index: int | None) -> bool:
        """Whether a frame waits that was not taken yet; or, if an index is given, whether that frame has come."""
        if index is None:
            return self.newest is not None
        return index == self.index or (self.newest is not None and index == self.newest.head.index)

    def show(self, head: p.FrameHead, payload: bytes | memoryview) -> None:
        """A frame has arrived; it replaces one that nobody has taken."""
        self.newest = Arrived(head, payload)
        self.owed += 1

    def take(self) -> int:
        """Take the newest frame, if there is one; returns how many credits to grant for the frames that came."""
        if self.newest:
            self.taken, self.newest = self.newest, None
        owed, self.owed = self.owed, 0
        return owed

    def note(self, news: p.Receipt | p.Resumed) -> None:
        """Note a receipt, or that a cluster has moved this walk to another worker, perhaps back to an earlier frame."""
        if isinstance(news, p.Resumed):
            self.resumed.append(news)
            self.taken = None if self.index > news.index else self.taken
        elif self.typed.pop(news.seq, None):
            self.receipts[news.seq] = news

    def seat(self, opened: p.Opened) -> None:
        """The server has this walk ready for this connection; credits of the previous connection are void."""
        self.id, self.token, self.owed, self.is_seated = opened.session, opened.token, 0, True


def wanted_view(look: Look | None, ahead: int) -> dict:
    """The fields of a Viewing message for frames of that kind, of which `ahead` may be in transit; None: the
    defaults of Look."""
    look = look or Look()
    return {
        "encoding": look.encoding,
        "quality": look.quality,
        "depth": look.depth,
        "tokens": look.tokens,
        "credits": ahead,
    }
