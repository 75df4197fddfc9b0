"""The base class of every message of protocol 3, the limits that all obey, and the error for a message that breaks
them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from .fields import HEX, FieldError, choice, flag, text, whole

# the versions that are spoken here, best first; 2 adds looks, 3 dreams from any pose and the messages of clusters
VERSIONS = (3, 2, 1)
MAX_HEADER = 64 * 1024
MAX_PAYLOAD = 64 * 1024 * 1024  # a frame, server to client
MAX_IMAGE = 8 * 1024 * 1024  # a first image, client to server
MAX_PART = 12 * 1024 * 1024  # what a server reads at all, so that it can answer that it is too large
MAX_SIDE = 4096
MAX_CREDITS = 16
MAX_STEP_M = 30.0  # of one step, forward and to the right
MAX_TURN_DEG = 360.0  # of one step, left and up
MAX_PIECES = 512  # of a walk: more than any memory holds
MAX_POINTS = 262144  # of pieces in one answer, except that one piece is always sent
MAX_PLACE_M = 1e9  # how far from its world's origin a walk may go

ERROR_CODES = (
    "malformed",
    "unknown_type",
    "version",
    "hello_first",
    "too_large",
    "rate",
    "limit",
    "unknown_session",
    "not_yours",
    "bad_request",
    "bad_action",
    "not_found",
    "queue_full",
    "storage",
    "closing",
    "internal",
    "full",
)


class ProtocolError(ValueError):
    """A message that cannot be used. code: one of ERROR_CODES; seq: that of the message, if it could be read."""

    def __init__(self, code: str, message: str, *, seq: int = 0):
        super().__init__(message)
        self.code, self.seq = code, seq


@dataclass(frozen=True, kw_only=True)
class Message:
    """The base of every message. TYPE names it in the header; MAX_PAYLOAD is how many raw bytes may follow its header.
    SINCE is the version that introduced it, which goes into its header as "v".

    The constructor checks every field and raises FieldError, so neither side can send what the other would refuse.
    """

    TYPE: ClassVar[str] = ""
    SINCE: ClassVar[int] = 1
    MAX_PAYLOAD: ClassVar[int] = 0

    def __post_init__(self):
        for f in fields(self):
            try:
                object.__setattr__(self, f.name, f.metadata["check"](getattr(self, f.name)))
            except FieldError as error:
                raise FieldError(f"{self.TYPE}.{f.name} is {error}") from error


@dataclass(frozen=True, kw_only=True)
class Request(Message):
    """A message that is answered; the answer, or the error, has the same seq. Clients count seq up from 1."""

    seq: int = whole()


@dataclass(frozen=True, kw_only=True)
class Viewing(Request):
    """A request that leads to frames: their form, and how many may be sent at first."""

    encoding: str = choice("raw", "jpeg", default="raw")
    quality: int = whole(1, 100, default=85)
    depth: str = choice("", "f32", "u16mm", default="")
    tokens: bool = flag(default=False)
    credits: int = whole(0, MAX_CREDITS, default=1)


def session_id(**options):
    return text(64, pattern=HEX, **options)
