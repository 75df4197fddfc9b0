"""The messages of looks, new in protocol 2: a walk seen from anywhere, and the surfaces that are remembered of it; and,
new in protocol 3, the one that has dreamt from there what nobody has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...world.sight import FOVS_DEG, MAX_IPD_M, SIDES
from ...world.sight import MAX_PLACE_M as MAX_LOOK_M
from .fields import MAX_WHOLE, choice, flag, numbers, real, whole, wholes
from .message import MAX_PAYLOAD, MAX_PIECES, MAX_POINTS, Message, Request, session_id


@dataclass(frozen=True, kw_only=True)
class Look(Request):
    """See a walk that one drives or watches from anywhere, by what is remembered of it: no step, no credit, and nothing
    changes. Answered by `sight`, beside the steps.

    pose: x, y, z metres, then w, x, y, z, or empty for where the walker stands; ipd_m: between two eyes, 0 for one;
    fov_deg: across, 0 for that of the frames; width, height: of an eye's picture, 0 for a frame's. mask: whether to
    send what is unknown.
    """

    TYPE: ClassVar[str] = "look"
    SINCE: ClassVar[int] = 2
    session: str = session_id()
    pose: tuple[float, ...] = numbers(0, 7, most=(*[MAX_LOOK_M] * 3, 2, 2, 2, 2), default=())
    ipd_m: float = real(0, MAX_IPD_M, default=0.0)
    fov_deg: float = real(0, FOVS_DEG[1], default=0.0)
    width: int = whole(0, SIDES[1], default=0)
    height: int = whole(0, SIDES[1], default=0)
    encoding: str = choice("raw", "jpeg", default="raw")
    quality: int = whole(1, 100, default=85)
    depth: str = choice("", "f32", "u16mm", default="")
    mask: bool = flag(default=False)


@dataclass(frozen=True, kw_only=True)
class Surfaces(Request):
    """The surfaces that are remembered of a walk, but for the pieces that the client has: `known`, by their numbers.
    Answered by `pieces`; while its `left` is not 0, ask again.

    kind: whether triangles come with the points. axes: right-handed with +Z up, as poses are, or with +Y up, as glTF,
    Godot, three.js and OpenXR have them: the world's x, z, -y. stride: of how many of a view's pixels across, and down,
    one is taken. most: points that an answer holds at most, unless its only piece has more.
    """

    TYPE: ClassVar[str] = "surfaces"
    SINCE: ClassVar[int] = 2
    session: str = session_id()
    known: tuple[int, ...] = wholes(MAX_PIECES, MAX_WHOLE, default=())
    kind: str = choice("mesh", "points", default="mesh")
    axes: str = choice("z-up", "y-up", default="z-up")
    stride: int = whole(1, 64, default=1)
    most: int = whole(1, MAX_POINTS, default=65536)


@dataclass(frozen=True, kw_only=True)
class Dream(Message):
    """Have the model dream what nobody has seen from a pose. An act like typed words, done once and in their order: it
    has a receipt, takes a credit and becomes a frame, in which the walker stands where it stood and sees what it saw.

    pose: x, y, z metres, then w, x, y, z; seq counts on with those of acts. clock: the client's, echoed.
    """

    TYPE: ClassVar[str] = "dream"
    SINCE: ClassVar[int] = 3
    mode: ClassVar[str] = "once"
    seq: int = whole()
    session: str = session_id()
    pose: tuple[float, ...] = numbers(7, most=(*[MAX_LOOK_M] * 3, 2, 2, 2, 2))
    clock: float = real(default=0.0)


@dataclass(frozen=True, kw_only=True)
class SightHead(Request):
    """What a look shows; its payload is the pixels, then the depth, then the mask, of the byte counts given. Where
    there are two eyes their pictures lie side by side, the left one first, in pixels, depth and mask alike.

    index: of the newest frame that it knows. width, height: of one eye's picture. unknown: the share of it that nothing
    is remembered of. pose, ipd_m, fov_deg: what was looked from. look_ms: of drawing, encode_ms: of encoding.
    """

    TYPE: ClassVar[str] = "sight"
    SINCE: ClassVar[int] = 2
    MAX_PAYLOAD: ClassVar[int] = MAX_PAYLOAD
    session: str = session_id()
    index: int = whole()
    eyes: int = whole(1, 2)
    width: int = whole(1, SIDES[1])
    height: int = whole(1, SIDES[1])
    encoding: str = choice("raw", "jpeg")
    pixel_bytes: int = whole(0, MAX_PAYLOAD)
    depth: str = choice("", "f32", "u16mm", default="")
    depth_bytes: int = whole(0, MAX_PAYLOAD, default=0)
    mask_bytes: int = whole(0, MAX_PAYLOAD, default=0)
    unknown: float = real(0, 1, default=0.0)
    pose: tuple[float, ...] = numbers(0, 7, most=(*[MAX_LOOK_M] * 3, 2, 2, 2, 2), default=())
    ipd_m: float = real(0, MAX_IPD_M, default=0.0)
    fov_deg: float = real(0, 180, default=0.0)
    look_ms: float = real(low=0, default=0.0)
    encode_ms: float = real(low=0, default=0.0)


@dataclass(frozen=True, kw_only=True)
class PiecesHead(Request):
    """Pieces of surface that the client does not have, the newest first, and which of those it has are gone. A piece
    never changes. The payload is, for each piece in turn: its points, three little-endian 32-bit floats each; their
    colours, red, green, blue, 255; its triangles, three little-endian 32-bit numbers of its points each, those of a
    side that was seen against the clock. index: of the newest frame that is in it. left: pieces that are to come."""

    TYPE: ClassVar[str] = "pieces"
    SINCE: ClassVar[int] = 2
    MAX_PAYLOAD: ClassVar[int] = MAX_PAYLOAD
    session: str = session_id()
    index: int = whole()
    axes: str = choice("z-up", "y-up")
    numbers: tuple[int, ...] = wholes(MAX_PIECES, MAX_WHOLE, default=())
    points: tuple[int, ...] = wholes(MAX_PIECES, 2**31, default=())
    triangles: tuple[int, ...] = wholes(MAX_PIECES, 2**31, default=())
    gone: tuple[int, ...] = wholes(MAX_PIECES, MAX_WHOLE, default=())
    left: int = whole(default=0)
