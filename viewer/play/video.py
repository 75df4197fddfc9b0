"""Writes frames to video files, MP4 (libx264) or GIF, in a worker thread so that a walk does not wait for the codec.

A file with its final name is complete: frames go to a hidden partial file that is renamed when the recorder is closed.
"""

from __future__ import annotations

import contextlib
import queue
import struct
import threading
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...world.files import partial_of
from ..files.outputs import OutputError, unused, why_not_written

if TYPE_CHECKING:
    from av.video.stream import VideoStream

FPS = 10
MP4_SIDE, GIF_SIDE = 512, 256  # frames are enlarged by a whole factor up to about this many pixels
_BACKLOG = 256  # frames that may wait for the codec; then `add` waits, because a recording drops nothing


def video_path(path: str | Path, *, overwrite: bool = False) -> Path:
    """`path`, if a video can be recorded to it. Raises OutputError."""
    path = unused(path, overwrite=overwrite)
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise OutputError(f"cannot record to {path}: wanted a name that ends in .mp4 or .gif")
    return path


class VideoRecorder:
    """Records frames (H, W, 3) uint8 of one size into `path`, whose suffix gives the format: .mp4 or .gif.

    Raises OutputError at once if the path cannot be written, and from `add` or `close` if writing failed.
    """

    def __init__(self, path: str | Path, *, fps: int = FPS, overwrite: bool = False):
        self.path = video_path(path, overwrite=overwrite)
        suffix = self.path.suffix.lower()
        self.num_frames = 0
        self._partial = partial_of(self.path)
        # called once, by `close`, or when the program ends before, as a signal ends it
        self._remove_partial = weakref.finalize(self, _remove, self._partial)
        self._sink = _open_sink(self._partial, suffix, fps, shown=self.path)
        self._queue: queue.Queue[np.ndarray | None] = queue.Queue(_BACKLOG)
        self._failure: Exception | None = None
        self._worker = threading.Thread(target=self._work, name=f"recorder {self.path.name}", daemon=True)
        self._worker.start()

    def add(self, pixels: np.ndarray) -> None:
        """Append a frame; the array must not change afterwards."""
        if self._failure:
            raise self._torn()
        self._queue.put(pixels)
        self.num_frames += 1

    def discard(self) -> None:
        """Leave no file: what should have been recorded was not finished."""
        self.num_frames = 0
        self.close()

    def close(self) -> Path:
        """Finish the file and return its path. A recording of no frames leaves no file."""
        try:
            if self._worker.is_alive():
                self._queue.put(None)
                self._worker.join()
            if self._failure:
                raise self._torn()
            if self.num_frames:
                self._partial.replace(self.path)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error
        finally:
            self._remove_partial()
        return self.path

    def _torn(self) -> OutputError:
        self._remove_partial()
        assert self._failure is not None, "something has failed"
        return OutputError(f"recording to {self.path} failed: {why_not_written(self._failure)}")

    def _work(self) -> None:
        while (pixels := self._queue.get()) is not None:
            self._try(self._sink.write, pixels)
        self._try(self._sink.close)

    def _try(self, act: Callable[..., None], *args: np.ndarray) -> None:
        # the next `add` or `close` raises any error of codec or disk; until then frames are accepted and dropped
        if self._failure is None:
            try:
                act(*args)
            except Exception as error:
                self._failure = error


class _Sink(Protocol):
    def write(self, pixels: np.ndarray) -> None: ...

    def close(self) -> None: ...


class Mp4Sink:
    def __init__(self, path: Path, fps: int):
        import av

        self._av = av
        # a name with a colon is not a protocol
        self._file = av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"})
        self._fps, self._count, self._factor = fps, 0, 1
        self._stream: VideoStream | None = None

    def write(self, pixels: np.ndarray) -> None:
        if self._stream is None:
            self._factor = max(1, MP4_SIDE // max(pixels.shape[:2]))
            self._stream = self._started(*_even(_enlarged(pixels, self._factor)).shape[:2])
        frame = self._av.VideoFrame.from_ndarray(_even(_enlarged(pixels, self._factor)), format="rgb24")
        frame.pts, self._count = self._count, self._count + 1
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._stream is not None:
            self._file.mux(self._stream.encode())
            self._file.close()

    def _started(self, height: int, width: int) -> VideoStream:
        stream = self._file.add_stream("libx264", rate=self._fps, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, self._fps)
        stream.codec_context.thread_count = 1  # the walk needs the other cores
        return stream


class GifSink:
    """Written frame by frame, because Pillow's own writer keeps all frames until the end."""

    def __init__(self, path: Path, fps: int):
        self._file, self._ms, self._count = open(path, "wb"), round(1000 / fps), 0  # noqa: SIM115 -- closed by close()

    def write(self, pixels: np.ndarray) -> None:
        from PIL import GifImagePlugin, Image

        image = Image.fromarray(_enlarged(pixels, max(1, GIF_SIDE // max(pixels.shape[:2]))))
        image = image.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        if not self._count:
            self._file.write(b"GIF89a" + struct.pack("<HHBBB", *image.size, 0x70, 0, 0))  # no colours in common
            self._file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")  # for ever
        for part in GifImagePlugin.getdata(image, duration=self._ms, include_color_table=True):
            self._file.write(part)
        self._count += 1

    def close(self) -> None:
        with self._file:
            self._file.write(b";" if self._count else b"")


def _open_sink(path: Path, suffix: str, fps: int, *, shown: Path) -> _Sink:
    try:
        return Mp4Sink(path, fps) if suffix == ".mp4" else GifSink(path, fps)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write {shown}: {reason}; name another file") from error
    except ImportError as error:
        raise OutputError(f"recording needs a package that is missing ({error}): pip install av pillow") from error


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    return np.ascontiguousarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))


def _even(pixels: np.ndarray) -> np.ndarray:
    """Repeat the last row or column if a side is odd, which 4:2:0 video does not allow."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else pixels
