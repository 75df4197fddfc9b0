"""One walk as its walker sees it: held keys and typed words in, frames out; rewind, branch, save, load, record.

Has no window and knows no pygame, so the same player walks on screen, headless and in tests. Steps run on a thread of
the player's own if a window must stay responsive (`begin`, `finish`), or while the caller waits (`step`).
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ...world.action import Action, ActionError
from ...world.frame import Dreaming, Frame, Preparing
from ...world.options import DreamOptions
from ...world.pose import Motion, Pose
from ..files.outputs import OutputError, fresh, newest, unused
from ..opening.start import Place, Start
from .action_log import ActionLog, Event
from .branch import Branch
from .keymap import Held, Keymap
from .latency import KeyToFrame
from .recording import Recording
from .script import Deed, DreamAnew, steps_of
from .steps import Pace, Typed, UnderWay

_SEED = re.compile(r"(?:new\s+)?(?:seed|world)\s+(\d{1,6})", re.IGNORECASE)
_WAIT_S = 10.0  # how long rewinding, saving and the like wait for the current step
_CLOSING_S = 60.0  # how long closing waits for it
MOST_BRANCHES = 9


class PlayerError(ValueError):
    """What was asked for cannot be done now; the message says why."""


class Opens(Protocol):
    """Opens starts: Opener on this machine, RemoteOpener on another. model: the weights' folder, or None; dreams:
    how unseen places are dreamt, if that was given."""

    model: str | Path | None
    dreams: DreamOptions

    def open(self, start: Start) -> Place: ...


class Connection(Protocol):
    """The connection to a remote world. farewell: the server's words when it said goodbye, or ""."""

    farewell: str

    @property
    def is_connected(self) -> bool: ...

    def take_warnings(self) -> Sequence[Exception]:
        """What the server has said of the walk since the last call."""


class Player:
    """Walks through the worlds that `opener` opens, from `start` on; what it saves and records goes into `folder`.

    `notes` collects sentences for the walker, newest last; the window shows and removes them. branches: the walk's
    forks, of which `at` is the number of the current one. connection: to the world, if it is remote.
    """

    def __init__(
        self,
        opener: Opens,
        start: Start,
        *,
        keymap: Keymap | None = None,
        folder: str | Path = "roam-out",
        connection: Connection | None = None,
    ):
        self.opener, self.connection = opener, connection
        self.held = Held(keymap or Keymap())
        self.folder = Path(folder)
        self.notes: list[str] = []
        self.words = ""
        self.is_paused = False
        self.key_to_frame, self.key_to_view = KeyToFrame(), KeyToFrame()
        self.watch: Callable[[Place, Frame], None] | None = None  # called with every step's frame; must not block
        self._queue: deque[Typed] = deque()
        self._pace = Pace()
        self._recording: Recording | None = None
        self._last_save: Path | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="roam-steps")
        self._under_way: UnderWay | None = None
        self._ahead: tuple[Action | None, threading.Event] = (None, threading.Event())
        self._enter(opener.open(start))

    @property
    def frame(self) -> Frame:
        return self.branch.explorer.frame

    @property
    def branch(self) -> Branch:
        """The branch being walked."""
        return self.branches[self.at]

    @property
    def trail(self) -> list[Pose]:
        """The poses passed since the world was opened, without those that were rewound."""
        return self.branch.trail

    @property
    def is_busy(self) -> bool:
        """Whether a step has begun that is not finished."""
        return self._under_way is not None

    @property
    def leads(self) -> Motion | None:
        """The motion of the current step, or of the keys that are down for the next; None if nobody moves."""
        if self._under_way:
            action = self._under_way.action
            return action.motion if isinstance(action, Action) else None
        return None if self.is_paused or self._queue else self.held.motion

    @property
    def is_cut_off(self) -> bool:
        """Whether the world is remote and its connection is lost; it reconnects by itself."""
        return self.connection is not None and not self.connection.is_connected

    @property
    def farewell(self) -> str:
        """The server's words when it said goodbye; "" if the connection broke, or is up."""
        return self.connection.farewell if self.connection else ""

    @property
    def is_recording(self) -> bool:
        return self._recording is not None

    @property
    def queued(self) -> int:
        """Steps of typed commands that are still to be done."""
        return sum(len(typed.steps) for typed in self._queue)

    @property
    def step_ms(self) -> float:
        """How long the newest step took; 0 before there was one."""
        return self._pace.step_ms

    @property
    def frames_per_s(self) -> float:
        """Frames a second while walking; 0 before there is anything to measure."""
        return self._pace.frames_per_s

    def say(self, text: str) -> None:
        """Accept a typed command: a sentence that moves, "seed 12", or any words if the world reads them. Raises
        ActionError, or the errors of opening."""
        if seed := _SEED.fullmatch(text.strip()):
            self.new_world(int(seed[1]))
        else:
            steps = steps_of(text, is_free=self.place.reads_words)
            if DreamAnew() in steps:
                self._check_dreams()
            self._queue.append(Typed(" ".join(text.split()), deque(steps)))

    def queue(self, actions: Iterable[Deed]) -> None:
        """Queue actions that are one frame each already, without receipts."""
        self._queue.append(Typed("", deque(actions)))

    def step(self) -> Frame | None:
        """One step of what is typed or held, or None if there is nothing to do or the walk is paused."""
        index = self.frame.index
        if not self.begin(lambda: None):
            return None if self.frame.index == index else self.frame
        self.wait()
        return self.finish()

    def begin(self, on_done: Callable[[], None]) -> bool:
        """Begin a step of what is typed or held; returns whether there is one. `on_done` runs on the step's thread.

        A rewind is done at once. Does nothing while a step is running.
        """
        if self._under_way:
            return False
        if self.held.take_command("rewind"):
            self._forget_presses()  # the current frame was shown before
            self.rewind()
            return False
        action, typed = (None, None) if self.is_paused else self._wanted()
        if action is None:
            self._forget_presses()
            return False
        self.key_to_frame.taken()
        self.key_to_view.taken()
        prepared_for, give_up = self._ahead
        if action != prepared_for:
            give_up.set()
        branch = self.branch
        if isinstance(action, DreamAnew):
            frame = self._worker.submit(branch.dream_anew)
        else:
            frame = self._worker.submit(branch.step, action)
        self._under_way = UnderWay(action, typed, time.perf_counter(), frame)
        frame.add_done_callback(lambda _: on_done())
        return True

    def _forget_presses(self) -> None:
        self.key_to_frame.forget()
        self.key_to_view.forget()

    def wait(self) -> None:
        """Wait for the current step."""
        if self._under_way:
            wait([self._under_way.frame])

    def finish(self) -> Frame | None:
        """Take the result of the step that was begun, if it is done; None if there is none or it was refused."""
        step = self._under_way
        if step is None or not step.frame.done():
            return None
        self._under_way = None
        self.notes += map(str, self.connection.take_warnings() if self.connection else ())
        try:
            frame = step.frame.result()
        except self._refusals(step.action) as error:
            self.notes.append(str(error))
            if step.typed:
                step.typed.steps.clear()
            return None
        self._accept(step, frame)
        return frame

    def settle(self) -> None:
        """Once a frame has been shown, run in the background what the next step would otherwise wait for: the commit
        pass, and the dream that repeating the same step would need. Another step cancels that dream and waits for
        one pass of it at most. Frames are the same with and without it."""
        explorer = self.branch.explorer
        if isinstance(explorer, Preparing):
            actions, give_up = explorer.actions, threading.Event()
            self._ahead = (actions[-1] if actions else None, give_up)
            self._worker.submit(explorer.prepare, stop=give_up.is_set)

    def dream_anew(self) -> None:
        """Dream the last dream again, with the next seed, before anything else is done. Raises PlayerError if
        nothing is dreamt, or not on this machine."""
        self._check_dreams()
        self._queue.appendleft(Typed("", deque([DreamAnew()])))

    def _check_dreams(self) -> None:
        if self.connection:
            raise PlayerError("a walk on a server cannot be dreamt anew from here")
        if not isinstance(self.branch.explorer, Dreaming):
            raise PlayerError("this world is shown as it is: there is no dream to dream anew")

    def rewind(self, frames: int = 1) -> Frame | None:
        """Go back that many frames and forget what is queued; None (and a note) at the beginning."""
        try:
            self._come_to_rest()
            events = self.branch.rewind(frames)
        except (ValueError, ConnectionError, TimeoutError) as error:
            self.notes.append(str(error))
            return None
        self.words = f"rewind {frames}"
        self._happened(events)
        return self.frame

    def fork(self) -> None:
        """Leave this branch as it is and continue in a new one."""
        if len(self.branches) == MOST_BRANCHES:
            raise PlayerError(f"there are {MOST_BRANCHES} branches already; close one first")
        self._come_to_rest()
        self.branches.append(self.branch.fork())
        self.at = len(self.branches) - 1
        self.notes.append(f"branch {self.at + 1} begins here")

    def switch(self, number: int) -> None:
        """Continue in the branch of that number, from 0; a recording ends, because it shows one walk."""
        if number == self.at or number >= len(self.branches):
            return
        self._come_to_rest()
        self._end_recording()
        self.at, self.words = number, ""

    def close_branch(self) -> None:
        """Close the current branch, and continue in the one before it."""
        if len(self.branches) == 1:
            raise PlayerError("this is the only branch; nothing to close")
        self._come_to_rest()
        self._end_recording()
        self.branches.pop(self.at).close()
        self.at, self.words = max(0, self.at - 1), ""

    def save(self) -> Path:
        """Save the walk under a new name. Raises OutputError if that fails."""
        self._come_to_rest()
        path = fresh(self.folder, "save", ".roam")
        try:
            self.branch.explorer.save(path)
        except (ConnectionError, TimeoutError):
            raise
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
        self._last_save = path
        self.notes.append(f"saved {path}")
        return path

    def load(self, path: str | Path | None = None) -> None:
        """Continue from a save: this one, or the last one made, or the newest in the folder."""
        path = path or self._last_save or newest(self.folder, "save-*.roam")
        if path is None:
            raise OutputError(f"there is no save in {self.folder} yet")
        self._leave_for(replace(self.place.start, truth=False, image=None, load=str(path), text=None))
        self.notes.append(f"loaded {path}")

    def new_world(self, seed: int | None = None) -> None:
        """Begin anew at a seed, or at the next one."""
        start = self.place.start
        self._leave_for(start.at_seed(start.seed + 1 if seed is None else seed))
        self.notes.append(f"new world: {self.place.start}")

    def record(self, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Start a video and, next to it, an action log of the whole walk so far; by default under a new name."""
        path = unused(path, overwrite=overwrite) if path else fresh(self.folder, "walk", ".mp4")
        self._recording = Recording.to(path, self.log, overwrite=overwrite)
        self._recording.video.add(self.frame.pixels)
        return path

    def stop_recording(self) -> Path | None:
        """Finish the video, if there is one, and return its path. Raises OutputError if it could not be written."""
        if self._recording is None:
            return None
        recording, self._recording = self._recording, None
        path = recording.close()
        self.notes.append(f"recorded {recording.video.num_frames} frames to {path}")
        return path

    def _end_recording(self) -> None:
        """Finish the video because something else begins; if the disk fails, a note says so and the rest goes on."""
        try:
            self.stop_recording()
        except OutputError as error:
            self.notes.append(str(error))

    @property
    def log(self) -> ActionLog:
        """What happened since this world was opened."""
        model = self.opener.model
        return ActionLog(
            self.place.start.as_dict(),
            None if model is None else str(Path(model).absolute()),
            self.branch.first,
            tuple(self.branch.events),
            self.opener.dreams,
        )

    def close(self) -> None:
        """Finish the recording and close the world; a remote one without connection is left on its server."""
        self._end_recording()
        self._ahead[1].set()
        if not self.is_cut_off:
            with contextlib.suppress(PlayerError):  # a step that hangs must not keep the program from ending
                self.rest(_CLOSING_S)
            self._close_branches()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _refusals(self, deed: Deed) -> tuple[type[Exception], ...]:
        """The errors by which a step may be refused. ValueError is among them for a remote world, or one that has
        nothing to dream again; a local world that raises it has a bug, and keeps its traceback."""
        always = (ActionError, ConnectionError, TimeoutError)
        return (*always, ValueError) if self.connection or isinstance(deed, DreamAnew) else always

    def _wanted(self) -> tuple[Deed | None, Typed | None]:
        """What to do next: the next step of a typed command, else what is held."""
        while self._queue and not self._queue[0].steps:
            self._queue.popleft()
        if self._queue:
            return self._queue[0].steps.popleft(), self._queue[0]
        return self.held.take(), None

    def _accept(self, step: UnderWay, frame: Frame) -> None:
        if isinstance(step.action, DreamAnew):
            self.words = "dream anew"
            self.notes.append("what was dreamt last is dreamt anew; what was seen before stays")
            self._happened(self.branch.dreamt_anew(frame))
            return
        self._pace.stepped(step.began, time.perf_counter())
        self.words = step.action.text
        self._happened(self.branch.stepped(step.action, frame))
        if self.watch:
            self.watch(self.place, frame)
        typed = step.typed
        if typed is None:
            return
        typed.first_index = frame.index if typed.first_index is None else typed.first_index
        if not typed.steps and typed.text:
            first = f"{typed.first_index} to " if frame.index > typed.first_index else ""
            self.notes.append(f"done: {typed.text} (frame {first}{frame.index})")

    def _happened(self, events: Iterable[Event]) -> None:
        if self._recording:
            try:
                self._recording.add(events, self.frame)
            except OutputError as error:
                recording, self._recording = self._recording, None
                with contextlib.suppress(OutputError):
                    recording.close()
                self.notes.append(f"the recording has ended: {error}")

    def _come_to_rest(self) -> None:
        """Forget what is queued and finish the current step. Raises PlayerError if that is impossible now."""
        if self.is_cut_off:
            raise PlayerError("the connection is lost; this can be done when it is back")
        self._queue.clear()
        self._ahead[1].set()
        self.rest(_WAIT_S)
        self.finish()

    def rest(self, timeout_s: float | None) -> None:
        """Wait until nothing runs in the background. Raises PlayerError if that takes longer."""
        if wait([self._worker.submit(lambda: None)], timeout_s).not_done:
            raise PlayerError(f"the step under way has not ended within {timeout_s:g} s; try again")

    def _leave_for(self, start: Start) -> None:
        """Open another world, then close the current one and its recording; if that fails, nothing has changed."""
        self._come_to_rest()
        place = self.opener.open(start)
        self._end_recording()
        self._close_branches()
        self._enter(place)

    def _close_branches(self) -> None:
        for branch in self.branches:
            with contextlib.suppress(ConnectionError, TimeoutError):  # a server that went away has closed them
                branch.close()

    def _enter(self, place: Place) -> None:
        self.place = place
        self.branches, self.at = [Branch(place.explorer)], 0
        self._queue.clear()
        self._pace = Pace()
        self.words = ""
