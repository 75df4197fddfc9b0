"""The form of a frame in messages: pixels raw or JPEG, depth in metres or millimetres, tokens; encoding and decoding.

Also opens the first images that clients send. Knows no socket and no session.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...world.frame import Frame, Timing
from ...world.pictures.reading import PictureError, read_picture
from ...world.pose import Camera
from ...world.records import known_pose_of, pose_of, pose_row
from ...world.sight import Gaze, Piece, Sight
from ..files.pictures import SENT_FORMATS, SENT_SIDE
from .protocol import MAX_SIDE, FrameHead, PiecesHead, ProtocolError, Record, SightHead, Viewing
from .protocol import Look as LookMessage

FAR_MM = 65535  # u16mm: farther than this, or no depth at all


@dataclass(frozen=True)
class Look:
    """How one viewer wants its frames: the part of a Viewing that encoding reads."""

    encoding: str = "raw"
    quality: int = 85
    depth: str = ""
    tokens: bool = False

    @staticmethod
    def of(view: Viewing) -> Look:
        return Look(view.encoding, view.quality, view.depth, view.tokens)


@dataclass(frozen=True)
class Encoded:
    """A frame's payload and the fields of FrameHead that describe it."""

    fields: dict
    payload: bytes | memoryview


def encode(frame: Frame, look: Look) -> Encoded:
    """The payload, pixels then depth then tokens, of a frame with pixels (H, W, 3) uint8."""
    began = time.perf_counter()
    height, width, _ = frame.pixels.shape
    parts = [_pixels(frame.pixels, look), _depth(frame.depth, look.depth), _tokens(frame, look.tokens)]
    described = {
        "width": width,
        "height": height,
        "encoding": look.encoding,
        "pixel_bytes": len(parts[0]),
        "depth": look.depth if len(parts[1]) else "",
        "depth_bytes": len(parts[1]),
        "grid": () if frame.tokens is None or not len(parts[2]) else frame.tokens.shape,
        "token_bytes": len(parts[2]),
        "pose": tuple(pose_row(frame.pose)) if frame.pose else (),
    }
    payload = parts[0] if len(parts[0]) == sum(map(len, parts)) else b"".join(parts)
    return Encoded(described | {"encode_ms": (time.perf_counter() - began) * 1000}, payload)


def decode(head: FrameHead, payload: bytes | memoryview) -> Frame:
    """The frame that was encoded; pixels are a view of a raw payload. Raises ProtocolError if the sizes disagree."""
    if len(payload) != head.pixel_bytes + head.depth_bytes + head.token_bytes:
        raise ProtocolError("malformed", f"a frame of {len(payload)} bytes; its header speaks of another size")
    payload = memoryview(payload)
    depth_end = head.pixel_bytes + head.depth_bytes
    shape = (head.height, head.width)
    pixels = _read_pixels(head.encoding, shape, payload[: head.pixel_bytes])
    depth = read_depth(head, payload[head.pixel_bytes : depth_end])
    tokens = _array(payload[depth_end:], "<i4", head.grid) if head.token_bytes else None
    pose = pose_of(head.pose) if head.pose else None
    timing = Timing(head.warp_ms, head.denoise_ms, head.decode_ms, head.commit_ms)
    return Frame(head.index, pixels, tokens, depth, pose, timing)


def encode_sight(sight: Sight, wanted: LookMessage) -> Encoded:
    """The payload of a sight: pixels, depth, mask. The mask is bits, 1 for unknown, rows of whole bytes whose
    highest bit is the leftmost pixel."""
    began, gaze = time.perf_counter(), sight.gaze
    mask = _bytes(np.packbits(sight.unknown, axis=1)) if wanted.mask else b""
    parts = [_pixels(sight.pixels, Look(wanted.encoding, wanted.quality)), _depth(sight.depth, wanted.depth), mask]
    described = {
        "index": sight.index,
        "eyes": len(gaze.eyes),
        "width": gaze.camera.width,
        "height": gaze.camera.height,
        "encoding": wanted.encoding,
        "pixel_bytes": len(parts[0]),
        "depth": wanted.depth,
        "depth_bytes": len(parts[1]),
        "mask_bytes": len(parts[2]),
        "unknown": float(sight.unknown.mean()),
        "pose": tuple(pose_row(gaze.pose)),
        "ipd_m": gaze.ipd_m,
        "fov_deg": gaze.camera.fov_deg,
    }
    payload = b"".join(parts)
    return Encoded(described | {"encode_ms": (time.perf_counter() - began) * 1000}, payload)


def decode_sight(head: SightHead, payload: bytes | memoryview) -> Sight:
    """The sight that was encoded with depth and mask. Raises ProtocolError if the sizes disagree, or parts are
    missing."""
    payload, depth_end = memoryview(payload), head.pixel_bytes + head.depth_bytes
    if len(payload) != depth_end + head.mask_bytes:
        raise ProtocolError("malformed", f"a sight of {len(payload)} bytes; its header speaks of another size")
    wide = head.width * head.eyes
    pixels = _read_pixels(head.encoding, (head.height, wide), payload[: head.pixel_bytes])
    depth = _read_depth(head.depth, (head.height, wide), payload[head.pixel_bytes : depth_end])
    bits = _array(payload[depth_end:], "u1", (head.height, -(-wide // 8)))
    if depth is None:
        raise ProtocolError("malformed", "a sight without depth; it was asked for with it")
    unknown = np.unpackbits(bits, axis=1, count=wide).astype(bool)
    gaze = Gaze(known_pose_of(head.pose), Camera(head.width, head.height, head.fov_deg), head.ipd_m)
    return Sight(gaze, head.index, pixels, depth, unknown)


def encode_pieces(pieces: Sequence[Piece], *, kind: str, axes: str) -> Encoded:
    """The payload of pieces of surface, and the fields of PiecesHead that describe it."""
    parts, counts = [], []
    for piece in pieces:
        points = piece.y_up if axes == "y-up" else piece.points
        colours = np.concatenate([piece.colours, np.full((len(points), 1), 255, np.uint8)], 1)
        triangles = piece.triangles if kind == "mesh" else piece.triangles[:0]
        parts += [np.ascontiguousarray(points, "<f4"), colours, np.ascontiguousarray(triangles, "<u4")]
        counts.append(len(triangles))
    described = {
        "numbers": tuple(piece.number for piece in pieces),
        "points": tuple(len(piece.points) for piece in pieces),
        "triangles": tuple(counts),
        "axes": axes,
    }
    return Encoded(described, b"".join(_bytes(part) for part in parts))


def decode_pieces(head: PiecesHead, payload: bytes | memoryview) -> list[Piece]:
    """The pieces that were encoded, in axes with +Z up. Raises ProtocolError if the sizes disagree."""
    sizes = list(zip(head.numbers, head.points, head.triangles, strict=False))
    is_whole = len(head.numbers) == len(head.points) == len(head.triangles)
    if not is_whole or sum(16 * points + 12 * triangles for _, points, triangles in sizes) != len(payload):
        raise ProtocolError("malformed", f"pieces of {len(payload)} bytes; their header speaks of another size")
    pieces, payload, at = [], memoryview(payload), 0
    for number, num_points, num_triangles in sizes:
        ends = np.cumsum([at, 12 * num_points, 4 * num_points, 12 * num_triangles])
        points = _array(payload[ends[0] : ends[1]], "<f4", (num_points, 3))
        if head.axes == "y-up":
            points = points[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32)
        colours = _array(payload[ends[1] : ends[2]], "u1", (num_points, 4))[:, :3]
        pieces.append(Piece(number, points, colours, _array(payload[ends[2] : ends[3]], "<u4", (num_triangles, 3))))
        at = int(ends[3])
    return pieces


def read_image(payload: bytes | memoryview) -> np.ndarray:
    """A client's JPEG, PNG or WebP as (H, W, 3) uint8, upright; its size is checked before it is decoded. If it is
    larger than our own clients send, the decoder makes it smaller before Python handles its pixels, because during
    that no other Python thread can run."""
    try:
        return read_picture(payload, formats=SENT_FORMATS, max_side=MAX_SIDE, within=SENT_SIDE)
    except PictureError as error:
        is_large = "make it smaller" in str(error)
        raise ProtocolError("too_large" if is_large else "bad_request", str(error)) from error


def _pixels(pixels: np.ndarray, look: Look) -> memoryview | bytes:
    pixels = np.ascontiguousarray(pixels)
    if look.encoding == "jpeg":
        import cv2

        options = (cv2.IMWRITE_JPEG_QUALITY, look.quality)
        pixels = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1]
    return _bytes(pixels)


def _depth(depth: np.ndarray | None, kind: str) -> memoryview | bytes:
    if not kind or depth is None:
        return b""
    if kind == "f32":
        return _bytes(np.ascontiguousarray(depth, "<f4"))
    millimetres = np.nan_to_num(depth * 1000.0, nan=FAR_MM, posinf=FAR_MM, neginf=0)
    return _bytes(np.rint(millimetres).clip(0, FAR_MM).astype("<u2"))


def _tokens(frame: Frame, is_wanted: bool) -> memoryview | bytes:
    if not is_wanted or frame.tokens is None:
        return b""
    return _bytes(np.ascontiguousarray(frame.tokens, "<i4"))


def _bytes(array: np.ndarray) -> memoryview | bytes:
    if not array.size:
        return b""
    return array.reshape(-1).view(np.uint8).data


def _read_pixels(encoding: str, shape: tuple[int, int], payload: memoryview) -> np.ndarray:
    if encoding == "raw":
        return _array(payload, "u1", (*shape, 3))
    image = _read_jpeg(payload) if len(payload) else None
    if image is None or image.shape != (*shape, 3):
        raise ProtocolError("malformed", f"a picture whose JPEG is not {shape[1]}x{shape[0]}")
    return image


def _read_jpeg(payload: memoryview) -> np.ndarray | None:
    """A JPEG's pixels, or None if it is not one; with whichever picture library is installed."""
    try:
        import cv2
    except ImportError:  # a client that has no more than it needs
        return _read_jpeg_by_pillow(payload)
    image = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_jpeg_by_pillow(payload: memoryview) -> np.ndarray | None:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("JPEG frames need a reader of pictures: pip install pillow, or ask for raw frames") from error
    try:
        with Image.open(io.BytesIO(payload), formats=("JPEG",)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None


def read_depth(head: FrameHead | Record, payload: memoryview) -> np.ndarray | None:
    """The depth in these bytes, (H, W) float32 metres, infinite where there is none; None if there are no bytes."""
    return _read_depth(head.depth, (head.height, head.width), payload)


def _read_depth(kind: str, shape: tuple[int, int], payload: memoryview) -> np.ndarray | None:
    if not kind:
        return None
    if kind == "f32":
        return _array(payload, "<f4", shape)
    millimetres = _array(payload, "<u2", shape)
    return np.where(millimetres == FAR_MM, np.float32(np.inf), millimetres.astype(np.float32) / 1000)


def _array(payload: memoryview, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(payload) != wanted:
        raise ProtocolError("malformed", f"{len(payload)} bytes for an array of {shape}; wanted {wanted}")
    return np.frombuffer(payload, dtype).reshape(shape)
