"""The messages of looks, new in protocol 2: views from any pose, and remembered surfaces. New in protocol 3:
`dream`, which makes the model dream what is unknown from a pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...world.sight import FOVS_DEG, MAX_IPD_M, SIDES
from ...world.sight import MAX_PLACE_M as MAX_LOOK_M
from .fields import MAX_WHOLE, choice, flag, numbers, real, whole, wholes
from .message import MAX_PAYLOAD, MAX_PIECES, MAX_POINTS, Message, Request, session_id


@dataclass(frozen=True, kw_only=True)
class Look(Request):
    """View a walk that one drives or watches from any pose, as far as it is remembered. It takes no step and no credit,
    and changes nothing. Answered by `sight`; steps go on meanwhile.

    pose: x, y, z metres, then w, x, y, z, or empty for the walker's pose; ipd_m: distance between two eyes, 0 for one
    eye; fov_deg: across, 0 for that of the frames; width, height: of one eye's picture, 0 for a frame's. mask: whether
    to send what is unknown.
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
    """The surfaces that are remembered of a walk, except the pieces that the client has: `known`, by their numbers.
    Answered by `pieces`; while its `left` is not 0, ask again.

    kind: whether triangles come with the points. axes: right-handed with +Z up, like poses, or with +Y up, like glTF,
    Godot, three.js and OpenXR: the world's x, z, -y. stride: one of so many of a view's pixels across, and down, is
    used. most: points that an answer holds at most, unless its only piece has more.
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
    """Make the model dream what nobody has seen from a pose. An act like typed words, done once and in order with them:
    it has a receipt, uses a credit and becomes a frame, in which the walker has not moved and sees what it saw before.

    pose: x, y, z metres, then w, x, y, z; seq continues that of acts. clock: the client's, echoed.
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
    """The answer to a look. Its payload is the pixels, then the depth, then the mask; their byte counts are given. With
    two eyes their pictures are side by side, the left one first, in pixels, depth and mask.

    index: of the newest frame that it knows. width, height: of one eye's picture. unknown: the share of it that is not
    remembered. pose, ipd_m, fov_deg: of the look. look_ms: of drawing; encode_ms: of encoding.
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
    """Pieces of surface that the client does not have, the newest first, and which of its pieces are gone. A piece
    never changes. The payload is, for each piece in turn: its points, three little-endian 32-bit floats each; their
    colours, red, green, blue, 255; its triangles, three little-endian 32-bit point numbers each, counter-clockwise
    on the side that was seen. index: of the newest frame that is in it. left: pieces that are still to come."""

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
