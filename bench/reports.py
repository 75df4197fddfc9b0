"""The files of results: figures, tables, sheets, plots. Each is written completely or not at all, so that a full disk
or a kill leaves those that were there. Knows nothing of what they say."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..viewer.files.outputs import OutputError, ready, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def keep(path: str | Path, data: bytes) -> Path:
    """Write a file into a folder, which is made if it was not there, and return its path. Raises OutputError."""
    ready(Path(path).parent)
    return write_whole(path, data)


def keep_text(path: str | Path, text: str) -> Path:
    """Write a text in UTF-8. Raises OutputError."""
    return keep(path, text.encode())


def keep_json(path: str | Path, figures: Any, *, indent: int | None = 1) -> Path:
    """Write figures as JSON with a last line end. Raises OutputError."""
    return keep_text(path, json.dumps(figures, indent=indent) + "\n")


def keep_arrays(path: str | Path, **arrays: np.ndarray) -> Path:
    """Write arrays as a compressed .npz. Raises OutputError."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes an array for allow_pickle
    return keep(path, file.getvalue())


def keep_picture(path: str | Path, pixels: np.ndarray, quality: Sequence[int] = ()) -> Path:
    """Write a picture (H, W, 3) uint8 RGB in the format of the path's suffix. quality: OpenCV's flags and their values.
    Raises OutputError."""
    import cv2

    suffix = Path(path).suffix
    try:
        is_made, data = cv2.imencode(suffix, np.ascontiguousarray(pixels[..., ::-1]), list(quality))
    except cv2.error as error:
        raise OutputError(f"cannot write {path}: no picture has the suffix '{suffix}'; wanted .png or .jpg") from error
    assert is_made, "OpenCV raises where it cannot"
    return keep(path, data.tobytes())


def keep_figure(path: str | Path, figure: Figure) -> Path:
    """Write a plot as PNG. Raises OutputError."""
    file = io.BytesIO()
    figure.savefig(file, dpi=110, format="png")
    return keep(path, file.getvalue())
