"""One walk as its walker sees it: held keys and typed words in, frames out; rewind, save, load, record, new worlds.

Has no window and knows no pygame, so the same player walks on screen, headless and in tests.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..world.action import Action, ActionError, parse_action
from ..world.frame import Frame
from ..world.pose import Pose
from .actionlog import ActionLog, Event, LogWriter, Rewind, Step
from .keymap import Held, Keymap
from .outputs import OutputError, fresh, unused
from .recorder import VideoRecorder
from .start import Opener, Place, Start

_SEED = re.compile(r"(?:new\s+)?(?:seed|world)\s+(\d{1,6})", re.IGNORECASE)
_RATE_WINDOW = 20  # steps that frames/s is taken over
_PAUSE_S = 1.0  # a longer gap between steps is a rest, not a slow model


@runtime_checkable
class _Settling(Protocol):
    def settle(self) -> None: ...


@dataclass
class _Typed:
    """A typed command on its way: the steps still to do, and the frame that its first step led to."""

    text: str
    steps: deque[Action]
    first_index: int | None = None


@dataclass
class _Recording:
    video: VideoRecorder
    log: LogWriter


class Player:
    """Walks through the worlds that `opener` opens, from `start` on; what it saves and records goes into `folder`.

    `notes` collects sentences for the walker, newest last; whoever shows them takes them away.
    """

    def __init__(self, opener: Opener, start: Start, *, keymap: Keymap | None = None, folder: str | Path = "roam-out"):
        self.opener = opener
        self.held = Held(keymap or Keymap())
        self.folder = Path(folder)
        self.notes: list[str] = []
        self.words = ""
        self.is_paused = False
        self.step_ms = 0.0
        self._queue: deque[_Typed] = deque()
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW + 1)
        self._recording: _Recording | None = None
        self._last_save: Path | None = None
        self._enter(opener.open(start))

    @property
    def frame(self) -> Frame:
        return self.place.explorer.frame

    @property
    def trail(self) -> list[Pose]:
        """The poses passed since the world was opened, rewound ones left out."""
        return [pose for pose in self._trail if pose is not None]

    @property
    def is_recording(self) -> bool:
        return self._recording is not None

    @property
    def queued(self) -> int:
        """Steps of typed commands that are still to be done."""
        return sum(len(typed.steps) for typed in self._queue)

    @property
    def frames_per_s(self) -> float:
        """Frames a second while walking; 0 before there is anything to measure."""
        seconds = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        return (len(self._times) - 1) / seconds if seconds > 0 else 0.0

    def say(self, text: str) -> None:
        """Take a typed command: a sentence that moves, or "seed 12". Raises ActionError, or what opening can raise."""
        if seed := _SEED.fullmatch(text.strip()):
            self.new_world(int(seed[1]))
        else:
            action = parse_action(text)
            self._queue.append(_Typed(action.text, deque(action.split())))

    def queue(self, actions: Iterable[Action]) -> None:
        """Take actions that are frame-sized already, without receipts."""
        self._queue.append(_Typed("", deque(actions)))

    def step(self) -> Frame | None:
        """One step of what is typed or held, or None where there is nothing to do or the walk is paused."""
        if self.held.take_command("rewind"):
            return self.rewind()
        if self.is_paused:
            return None
        while self._queue and not self._queue[0].steps:
            self._queue.popleft()
        if self._queue:
            return self._typed_step(self._queue[0])
        action = self.held.take()
        return None if action is None else self._act(action)

    def settle(self) -> None:
        """Let the world do, once its frame has been shown, what it would else do when the next step waits for it."""
        if isinstance(self.place.explorer, _Settling):
            self.place.explorer.settle()

    def rewind(self, frames: int = 1) -> Frame | None:
        """Go back that many frames and forget what is queued; None (and a note) at the beginning."""
        self._queue.clear()
        try:
            frame = self.place.explorer.rewind(frames)
        except ValueError as error:
            self.notes.append(str(error))
            return None
        del self._trail[max(1, len(self._trail) - frames) :]
        self.words = f"rewind {frames}"
        self._happened(Rewind(frames, frame.digest), frame)
        return frame

    def save(self) -> Path:
        """Save the walk under a fresh name. Raises OutputError where that cannot be."""
        path = fresh(self.folder, "save", ".roam")
        try:
            self.place.explorer.save(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
        self._last_save = path
        self.notes.append(f"saved {path}")
        return path

    def load(self, path: str | Path | None = None) -> None:
        """Go on from a save: this one, or the last one made, or the newest in the folder."""
        path = path or self._last_save or max(self.folder.glob("save-*.roam"), default=None)
        if path is None:
            raise OutputError(f"there is no save in {self.folder} yet")
        self._leave_for(self.opener.open(replace(self.place.start, truth=False, image=None, load=str(path))))
        self.notes.append(f"loaded {path}")

    def new_world(self, seed: int | None = None) -> None:
        """Begin anew at a seed, or at the next one."""
        start = self.place.start
        self._leave_for(self.opener.open(start.at_seed(start.seed + 1 if seed is None else seed)))
        self.notes.append(f"new world: {self.place.start}")

    def record(self, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Start a video and, beside it, an action log of the whole walk so far; by default under a fresh name."""
        path = unused(path, overwrite=overwrite) if path else fresh(self.folder, "walk", ".mp4")
        log_path = unused(path.with_suffix(".jsonl"), overwrite=overwrite)
        video = VideoRecorder(path, overwrite=overwrite)
        self._recording = _Recording(video, LogWriter(log_path, self.log, overwrite=overwrite))
        video.add(self.frame.pixels)
        return path

    def stop_recording(self) -> Path | None:
        """Finish the video, if there is one, and return its path."""
        if self._recording is None:
            return None
        recording, self._recording = self._recording, None
        recording.log.close()
        path = recording.video.close()
        self.notes.append(f"recorded {recording.video.num_frames} frames to {path}")
        return path

    @property
    def log(self) -> ActionLog:
        """What happened since this world was opened."""
        model = self.opener.model
        return ActionLog(
            self.place.start.as_dict(), None if model is None else str(model), self._first, tuple(self._events)
        )

    def close(self) -> None:
        """Finish the recording and give the world back."""
        self.stop_recording()
        self.place.explorer.close()

    def _typed_step(self, typed: _Typed) -> Frame | None:
        frame = self._act(typed.steps.popleft())
        if frame is None:
            self._queue.popleft()
            return None
        typed.first_index = frame.index if typed.first_index is None else typed.first_index
        if not typed.steps and typed.text:
            first = f"{typed.first_index} to " if frame.index > typed.first_index else ""
            self.notes.append(f"done: {typed.text} (frame {first}{frame.index})")
        return frame

    def _act(self, action: Action) -> Frame | None:
        began = time.perf_counter()
        try:
            frame = self.place.explorer.step(action)
        except ActionError as error:
            self.notes.append(str(error))
            return None
        self._clock(began, time.perf_counter())
        self.words = action.text
        self._trail.append(frame.pose)
        self._happened(Step(action, frame.digest), frame)
        return frame

    def _clock(self, began: float, ended: float) -> None:
        self.step_ms = 1000 * (ended - began)
        if self._times and began - self._times[-1] > _PAUSE_S:
            self._times.clear()
        if not self._times:
            self._times.append(began)
        self._times.append(ended)

    def _happened(self, event: Event, frame: Frame) -> None:
        self._events.append(event)
        if self._recording:
            try:
                self._recording.log.add(event)
                self._recording.video.add(frame.pixels)
            except (OutputError, OSError) as error:
                self._recording = None
                self.notes.append(f"the recording has ended: {error}")

    def _leave_for(self, place: Place) -> None:
        """Close the world at hand, and its recording, for another that is open already."""
        self.stop_recording()
        self.place.explorer.close()
        self._enter(place)

    def _enter(self, place: Place) -> None:
        self.place = place
        self._queue.clear()
        self._times.clear()
        self.words, self.step_ms = "", 0.0
        self._trail: list[Pose | None] = [place.explorer.frame.pose]
        self._events: list[Event] = []
        self._first = place.explorer.frame.digest
