"""What a walk's first picture tells besides its pixels, and pictures as they are sent and written.

Pixels are read by world/pictures/reading.py. Knows no session and no messages.
"""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import numpy as np

from ...world.files import readable
from ...world.pictures.reading import NOT_READ, PictureError, read_picture

SENT_SIDE = 2048  # pixels a side beyond which a first image is made smaller before it is sent
SENT_BYTES = 2 << 20
SENT_FORMATS = ("JPEG", "PNG", "WEBP")  # formats that every server reads
_EXIF, _FOCAL_35MM, _ORIENTATION = 0x8769, 0xA405, 0x0112
_FILM_DIAGONAL_MM = math.hypot(36, 24)


def degrees_across(path: str | Path) -> float | None:
    """How many degrees a photograph covers from side to side, upright, by what its camera wrote into it (Exif's
    focal length on 35 mm film, which refers to the diagonal); None if nothing is written."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(readable(path)) as picture:
                exif, (width, height) = picture.getexif(), picture.size
                focal_mm = float(exif.get_ifd(_EXIF).get(_FOCAL_35MM) or 0)
                if exif.get(_ORIENTATION) in (5, 6, 7, 8):
                    width, height = height, width
    except (*NOT_READ, Image.DecompressionBombError):
        return None
    if not 2 <= focal_mm <= 3000:
        return None
    return math.degrees(2 * math.atan(_FILM_DIAGONAL_MM / 2 * width / math.hypot(width, height) / focal_mm))


def to_send(payload: bytes) -> bytes:
    """A first image as servers accept them: unchanged if it is small and of a format that all servers read, else
    made smaller and a JPEG. A small file that cannot be read is left for the server to refuse. Raises PictureError."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(payload)) as picture:
                is_small = max(picture.size) <= SENT_SIDE and len(payload) <= SENT_BYTES
                if is_small and picture.format in SENT_FORMATS:
                    return payload
    except Image.DecompressionBombError as error:
        raise PictureError(f"the image is too large ({error}): make it smaller") from error
    except NOT_READ:
        if len(payload) <= SENT_BYTES:
            return payload
    pixels = read_picture(payload, name="the image", within=SENT_SIDE)
    smaller = io.BytesIO()
    Image.fromarray(pixels).save(smaller, "JPEG", quality=95, subsampling=0)
    return smaller.getvalue()


def png_of(image: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8, or distances (H, W) uint16, as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()
