"""The messages that only a cluster sends to its clients: that they wait for a place, and that a walk has moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .fields import flag, real, whole
from .message import Message, Request, session_id


@dataclass(frozen=True, kw_only=True)
class Queued(Request):
    """Every place is taken: this `open` waits as number `place` of a queue, for about wait_s more. Sent again
    whenever that changes; `opened`, or an `error`, ends it. From version 3 on."""

    TYPE: ClassVar[str] = "queued"
    SINCE: ClassVar[int] = 3
    place: int = whole(1)
    wait_s: float = real(low=0, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Resumed(Message):
    """A walk continues on another worker, from that frame, because its worker has ended. The client need do nothing:
    typed words that were lost are done again, held keys stay held. moved: it was moved on purpose, and nothing was
    lost. From version 3 on."""

    TYPE: ClassVar[str] = "resumed"
    SINCE: ClassVar[int] = 3
    session: str = session_id()
    index: int = whole(default=0)
    last: int = whole(default=0)
    moved: bool = flag(default=False)
