"""How a frame looks on the wire: pixels raw or JPEG, depth in metres or millimetres, tokens; there and back.

Also opens the first images that clients send. Knows no socket and no session.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np

from ...world.frame import Frame, Timing
from ...world.records import pose_of, pose_row
from ..files.pictures import SENT_FORMATS, PictureError, read_picture
from .protocol import MAX_SIDE, FrameHead, ProtocolError, Record, Viewing

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
    parts = [_pixels(frame, look), _depth(frame, look.depth), _tokens(frame, look.tokens)]
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
    """The frame that was encoded; pixels are a view of a raw payload. Raises ProtocolError where the sizes disagree."""
    if len(payload) != head.pixel_bytes + head.depth_bytes + head.token_bytes:
        raise ProtocolError("malformed", f"a frame of {len(payload)} bytes; its header speaks of another size")
    payload = memoryview(payload)
    depth_end = head.pixel_bytes + head.depth_bytes
    pixels = _read_pixels(head, payload[: head.pixel_bytes])
    depth = read_depth(head, payload[head.pixel_bytes : depth_end])
    tokens = _array(payload[depth_end:], "<i4", head.grid) if head.token_bytes else None
    pose = pose_of(head.pose) if head.pose else None
    timing = Timing(head.warp_ms, head.denoise_ms, head.decode_ms, head.commit_ms)
    return Frame(head.index, pixels, tokens, depth, pose, timing)


def read_image(payload: bytes | memoryview) -> np.ndarray:
    """A client's JPEG, PNG or WebP as (H, W, 3) uint8, upright; its size is checked before it is decoded."""
    try:
        return read_picture(payload, formats=SENT_FORMATS, max_side=MAX_SIDE)
    except PictureError as error:
        is_large = "make it smaller" in str(error)
        raise ProtocolError("too_large" if is_large else "bad_request", str(error)) from error


def _pixels(frame: Frame, look: Look) -> memoryview:
    pixels = np.ascontiguousarray(frame.pixels)
    if look.encoding == "jpeg":
        options = (cv2.IMWRITE_JPEG_QUALITY, look.quality)
        pixels = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1]
    return _bytes(pixels)


def _depth(frame: Frame, kind: str) -> memoryview | bytes:
    if not kind or frame.depth is None:
        return b""
    if kind == "f32":
        return _bytes(np.ascontiguousarray(frame.depth, "<f4"))
    millimetres = np.nan_to_num(frame.depth * 1000.0, nan=FAR_MM, posinf=FAR_MM, neginf=0)
    return _bytes(np.rint(millimetres).clip(0, FAR_MM).astype("<u2"))


def _tokens(frame: Frame, is_wanted: bool) -> memoryview | bytes:
    if not is_wanted or frame.tokens is None:
        return b""
    return _bytes(np.ascontiguousarray(frame.tokens, "<i4"))


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _read_pixels(head: FrameHead, payload: memoryview) -> np.ndarray:
    if head.encoding == "raw":
        return _array(payload, "u1", (head.height, head.width, 3))
    image = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR) if len(payload) else None
    if image is None or image.shape != (head.height, head.width, 3):
        raise ProtocolError("malformed", f"a frame whose JPEG is not {head.width}x{head.height}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_depth(head: FrameHead | Record, payload: memoryview) -> np.ndarray | None:
    """The depth that lies in so many bytes, (H, W) float32 metres, infinite where there is none; None without any."""
    if not head.depth:
        return None
    shape = (head.height, head.width)
    if head.depth == "f32":
        return _array(payload, "<f4", shape)
    millimetres = _array(payload, "<u2", shape)
    return np.where(millimetres == FAR_MM, np.float32(np.inf), millimetres.astype(np.float32) / 1000)


def _array(payload: memoryview, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(payload) != wanted:
        raise ProtocolError("malformed", f"{len(payload)} bytes for an array of {shape}; wanted {wanted}")
    return np.frombuffer(payload, dtype).reshape(shape)
