"""Pictures as people have them (photographs, scans, drawings) as pixels: upright, in sRGB, opaque, eight bits.

Every file or payload that becomes a picture of a walk or of an example is read here, so that it looks the same
everywhere. Its size is checked before it is decoded. Knows no session and no messages.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import readable

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 64_000_000  # 192 MB decoded; more than phones take
# errors that decoders of many authors raise for damaged files
NOT_READ = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    zlib.error,
)


class PictureError(ValueError):
    """A picture that cannot be read, or is too large; the message says which and what to do."""


def read_picture(
    source: str | Path | bytes | memoryview,
    *,
    name: str = "",
    formats: tuple[str, ...] | None = None,
    max_side: int | None = None,
    within: int | None = None,
) -> np.ndarray:
    """The picture of a file or payload as (H, W, 3) uint8; of an animation the first.

    name: what to call it in errors; formats: Pillow's names of the formats to read, None for all; max_side: refuse
    larger ones; within: make larger ones smaller, which is cheap for a JPEG. Raises PictureError.
    """
    from PIL import Image, UnidentifiedImageError

    name = name or (str(source) if isinstance(source, str | Path) else "the payload")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes | memoryview) else readable(source)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # the size is checked here; of damaged Exif data Pillow would tell the terminal
            with Image.open(file, formats=formats or _without_programs()) as picture:
                _check(picture, name, max_side, within)
                _turn_upright(picture)
                opaque = _opaque(picture)
                if within and max(opaque.size) > within:
                    opaque.thumbnail((within, within), Image.Resampling.LANCZOS, reducing_gap=1.0)  # by halves first
                return np.array(opaque, np.uint8)
    except UnidentifiedImageError as error:
        kind = f"{', '.join(formats[:-1])} or {formats[-1]}" if formats else "image"
        hint = "" if formats else "; wanted for instance a PNG or JPEG file"
        raise PictureError(f"{name} is no {kind} that can be read{hint}") from error
    except PictureError:
        raise
    except (*NOT_READ, Image.DecompressionBombError) as error:
        raise PictureError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error


def _without_programs() -> list[str]:
    """Pillow's names of all formats that it reads, except drawings that another program would have to execute."""
    from PIL import Image

    Image.init()
    return [name for name in Image.OPEN if name not in ("EPS", "WMF")]


def _check(picture: Image.Image, name: str, max_side: int | None, within: int | None) -> None:
    """Check the size before anything is decoded."""
    width, height = picture.size
    if max_side and max(width, height) > max_side:
        raise PictureError(f"{name} has {width}x{height} pixels; wanted at most {max_side} a side: make it smaller")
    if within:
        picture.draft("RGB", (within, within))  # a JPEG can be decoded at a half, a quarter or an eighth of its size
    if picture.size[0] * picture.size[1] > MAX_PIXELS:
        raise PictureError(f"{name} has {width}x{height} pixels; at most {MAX_PIXELS:,} are read: make it smaller")


def _turn_upright(picture: Image.Image) -> None:
    """Turn a picture as its Exif data say. Where these are damaged it stays as it is: it was read all the same."""
    from PIL import ImageOps

    picture.load()
    try:
        picture.getexif()
    except NOT_READ:
        return
    ImageOps.exif_transpose(picture, in_place=True)


def _opaque(picture: Image.Image) -> Image.Image:
    """A picture of any mode as RGB of eight bits in sRGB; transparent parts are white."""
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        levels = np.asarray(picture)
        grey = _eight_bits(levels, is_deep=picture.mode.startswith("I;16") or picture.format == "PPM")
        clear = picture.info.get("transparency")
        return Image.fromarray(grey if clear is None else np.where(levels == clear, 255, grey)).convert("RGB")
    if picture.mode == "P" and "icc_profile" in picture.info and "transparency" not in picture.info:
        return _in_srgb(picture.convert("RGB"))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        behind = Image.new("RGBA", seen.size, "white")
        flat = Image.alpha_composite(behind, seen).convert("RGB")
        flat.info["icc_profile"] = picture.info.get("icc_profile")
        return _in_srgb(flat)
    return _in_srgb(picture)


def _eight_bits(deep: np.ndarray, *, is_deep: bool) -> np.ndarray:
    """Grey levels with more than eight bits, or floats, as (H, W) uint8. is_deep: whether they are known to have
    sixteen bits, however dark they are; otherwise their largest value decides. Fractions are levels from 0 to 1, and
    larger ones become white."""
    levels = np.nan_to_num(deep.astype(np.float32))
    top = float(levels.max(initial=0))
    is_fraction = top <= 1.0 or bool((levels % 1).any())
    largest = 65535.0 if is_deep or not (is_fraction or top <= 255.0) else 1.0 if is_fraction else 255.0
    return (levels / largest * 255).round().clip(0, 255).astype(np.uint8)


def _in_srgb(picture: Image.Image) -> Image.Image:
    """RGB converted by the picture's own colour profile; a profile that cannot be used is ignored."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "L", "CMYK"):
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    from PIL import ImageCms

    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        shown = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return shown or picture.convert("RGB")
    except (ImageCms.PyCMSError, *NOT_READ):
        return picture.convert("RGB")
