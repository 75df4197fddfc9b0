"""The recording of a walk: a video and, next to it, an action log that can be replayed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...world.frame import Frame
from ..files.outputs import OutputError, unused
from .action_log import ActionLog, Event, LogWriter
from .video import VideoRecorder, video_path


def recording_path(path: str | Path, *, overwrite: bool = False) -> Path:
    """`path`, if a video can be recorded to it and a log next to it. Raises OutputError."""
    path = video_path(path, overwrite=overwrite)
    unused(path.with_suffix(".jsonl"), overwrite=overwrite)
    return path


@dataclass
class Recording:
    """Frames and the events between them, as they come."""

    video: VideoRecorder
    log: LogWriter

    @classmethod
    def to(cls, path: Path, log: ActionLog, *, overwrite: bool = False) -> Recording:
        """Begin files at `path` and next to it. log: the walk so far. Raises OutputError if that fails."""
        log_path = unused(path.with_suffix(".jsonl"), overwrite=overwrite)
        video = VideoRecorder(path, overwrite=overwrite)
        try:
            return cls(video, LogWriter(log_path, log, overwrite=overwrite))
        except OutputError:
            video.close()  # without frames it leaves no file
            raise

    def add(self, events: Iterable[Event], frame: Frame) -> None:
        for event in events:
            self.log.add(event)
        self.video.add(frame.pixels)

    def close(self) -> Path:
        self.log.close()
        return self.video.close()
