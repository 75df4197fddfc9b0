"""What only a cluster says to its clients: that they wait for a place, and that a walk goes on elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .fields import flag, real, whole
from .message import Message, Request, session_id


@dataclass(frozen=True, kw_only=True)
class Queued(Request):
    """Every place is taken: this `open` waits as number `place` of a queue, for about wait_s more. Said again whenever
    that changes; `opened`, or an `error`, ends it. From version 3 on."""

    TYPE: ClassVar[str] = "queued"
    SINCE: ClassVar[int] = 3
    place: int = whole(1)
    wait_s: float = real(low=0, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Resumed(Message):
    """A walk goes on elsewhere, from that frame, because whatever held it has ended. Nothing need be done: typed words
    that were lost are done again, what is held is held. moved: it was moved on purpose, and nothing was lost. From
    version 3 on."""

    TYPE: ClassVar[str] = "resumed"
    SINCE: ClassVar[int] = 3
    session: str = session_id()
    index: int = whole(default=0)
    last: int = whole(default=0)
    moved: bool = flag(default=False)
