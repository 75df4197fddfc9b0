"""One walk through a dream: its pages, its remembered views, its random state. Steps go through the engine.

The session owns its pages and frees them on close; the tensors behind them belong to the engine's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .action import Action, ActionError, dream_at, sayings
from .frame import Frame, Rollout, SteppingEngine, walk
from .pose import Camera, Motion, Pose
from .sight import Gaze, Sight
from .spatial.collision import walked
from .spatial.looker import Looker, Remembered
from .spatial.view_memory import ViewMemory, visible_pages
from .spatial.warp import View, Warp

if TYPE_CHECKING:
    from torch import Tensor

    from .checkpoint import Checkpoint
    from .config import DidaConfig, LayoutConfig
    from .dreamer import Dream
    from .emu.text import EmuTextTokenizer
    from .tokens.text import TextTokenizer
    from .transformer.cache import KVCache

REWIND_LIMIT = 120
STARTS = ("auto", "warp", "frame", "noise")
DECODERS = ("dida", "autoregressive", "jacobi", "carry")
NUM_VIEWS = 8  # remembered views that are carried into a canvas, as in training


def view_index(frame_index: int, *, is_ahead: bool = False) -> int:
    """The number in memory of a frame's own view, or of the keyframe that was dreamt ahead of it."""
    return 2 * frame_index + is_ahead


@dataclass(frozen=True)
class Keyframe:
    """A page of the walk: its number in the cache and in the walk, and its tokens (h, w) int32."""

    page: int
    number: int
    tokens: np.ndarray


@dataclass(frozen=True)
class Moment:
    """A frame with everything that the next step needs: the views remembered by then, and the keyframes that the
    step sees, oldest first, with one more to which the newest is to be committed."""

    frame: Frame
    keyframes: tuple[Keyframe, ...]
    memory: ViewMemory

    @property
    def held(self) -> tuple[int, ...]:
        """The pages of this moment, each with one more reference."""
        return tuple(keyframe.page for keyframe in self.keyframes)


@dataclass(frozen=True)
class Plan:
    """What a step starts from: the words' ids, the pose that the motion leads to, the carried view or None, and the
    codes (1, N) that the tokenizer has for it."""

    text: tuple[int, ...]
    pose: Pose | None
    carried: Warp | None = None
    codes: Tensor | None = None

    @property
    def there(self) -> tuple[Pose, Warp]:
        """The pose, and the view that was carried to it, of a plan that has both."""
        assert self.pose is not None and self.carried is not None
        return self.pose, self.carried


@dataclass(frozen=True)
class Prepared:
    """A dream made before it was needed: the action that needs it, its page, and what was dreamt."""

    action: Action
    page: int
    dream: Dream


class SessionEngine(SteppingEngine, Protocol):
    """An engine that steps sessions: an Engine, or an EmuEngine for official checkpoints.

    reads_words: whether a world can begin with words, and free words are directions; dreams_anew: whether unseen places
    are dreamt separately, so that they can be dreamt again; frame_side: pixels a side of a square frame; rewind_limit:
    steps that can be undone; num_kept: moments before the newest that a session keeps; num_pinned: first moments that
    are never forgotten; saves_changes: whether it writes what has changed in a session.
    """

    reads_words: bool
    num_pinned: int
    saves_changes: bool

    @property
    def checkpoint(self) -> Checkpoint: ...
    @property
    def dida(self) -> DidaConfig: ...
    @property
    def layout(self) -> LayoutConfig: ...
    @property
    def text(self) -> TextTokenizer | EmuTextTokenizer: ...
    @property
    def cache(self) -> KVCache: ...
    @property
    def dreams_anew(self) -> bool: ...
    @property
    def frame_side(self) -> int: ...
    @property
    def rewind_limit(self) -> int: ...
    @property
    def num_kept(self) -> int: ...

    def session(
        self,
        first: Frame | np.ndarray | None = None,
        *,
        words: str = "",
        seed: int = 0,
        start: str = "auto",
        decoder: str | None = None,
        solid: bool = False,
        seen: np.ndarray | None = None,
        photograph: bool = False,
    ) -> Session:
        """A walk that begins at a frame or pixels (H, W, 3) uint8, or at words if the engine reads them. Raises
        ValueError for a beginning that this engine does not support."""

    def load_session(self, path: str | Path) -> Session:
        """Continue from what `Session.save` wrote. Raises SnapshotError for a file that is incomplete or of other
        weights."""

    def save_session(self, session: Session, path: str | Path) -> None:
        """Write a session's complete state. Raises OSError."""

    def save_changes(self, session: Session, path: str | Path, before: Session) -> bool:
        """Write what has changed in a session since `before`, a fork of it, was saved; False if that is impossible.
        Raises OSError."""

    def step_many(self, sessions: Sequence[Session], actions: Sequence[Action]) -> list[Frame]:
        """One step of each session: the same frames as each alone. Raises ActionError before any has moved."""

    def observe(self, session: Session, action: Action, pixels: np.ndarray, pose: Pose | None = None) -> Frame:
        """Take a true frame (H, W, 3) uint8 into a session's history instead of dreaming one."""

    def settle(self, sessions: Sequence[Session]) -> None:
        """Write the parts of each session's newest moment that are not in the cache yet."""

    def prepare(self, session: Session, action: Action, *, stop: Callable[[], bool] | None = None) -> None:
        """Dream now what a step by `action` would have to dream first, if the engine dreams ahead."""


class Session:
    """An Explorer over a world model. Made by `Engine.session` and `Engine.load_session`, or by those of EmuEngine,
    whose moments are passages of a conversation (emu/engine.py). is_committed: whether the newest moment is completely
    in the cache; a step does this first.

    start: where canvases begin: carried views ("warp"), the previous frame ("frame"), pure noise ("noise"), or "auto":
    carried views if the action has a motion and the frame a pose, else the previous frame. decoder: "dida",
    "autoregressive" (token by token), "jacobi" (the same tokens, several per pass), or "carry", a baseline that shows
    the carried view without a model. is_solid: whether steps end at remembered surfaces (spatial/collision.py), or go
    wherever the action says.
    """

    def __init__(
        self,
        engine: SessionEngine,
        moments: list[Moment],
        actions: list[Action],
        *,
        seed: int,
        start: str = "auto",
        decoder: str = "dida",
        is_solid: bool = False,
        is_committed: bool = True,
    ):
        if start not in STARTS or decoder not in DECODERS:
            raise ValueError(f"start '{start}' or decoder '{decoder}' unknown; known: {STARTS} and {DECODERS}")
        self.engine, self.seed, self.start, self.decoder = engine, seed, start, decoder
        self.is_solid = is_solid
        self._moments, self._actions = moments, actions
        self._prepared: Prepared | None = None
        self._is_committed = is_committed
        self._is_closed = False
        self._looker: Looker | None = None

    @property
    def is_committed(self) -> bool:
        return self._is_committed

    @property
    def frame(self) -> Frame:
        return self._moments[-1].frame

    @property
    def actions(self) -> tuple[Action, ...]:
        """Every action of the walk, in order."""
        return tuple(self._actions)

    @property
    def memory(self) -> ViewMemory:
        return self._moments[-1].memory

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The moments that can be rewound to, oldest first, and the pages that they see."""
        return tuple(self._moments)

    @property
    def camera(self) -> Camera:
        return self.memory.camera

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The newest keyframes, oldest first."""
        return self._moments[-1].keyframes

    @property
    def pages(self) -> list[int]:
        """The pages of the newest keyframes, oldest first."""
        return [keyframe.page for keyframe in self.keyframes]

    def history(self) -> list[int]:
        """The pages that the next step sees."""
        return visible_pages(self.pages, self.engine.layout.window)

    def step(self, action: Action) -> Frame:
        """Dream the frame that the action leads to. Raises ActionError for words too long for a page."""
        return self.engine.step_many([self], [action])[0]

    def observe(self, action: Action, pixels: np.ndarray, pose: Pose | None = None) -> Frame:
        """Take a true frame into the history instead of dreaming one: pixels (H, W, 3) uint8."""
        return self.engine.observe(self, action, pixels, pose)

    def walked(self, pose: Pose, motion: Motion) -> Pose:
        """The pose that a motion leads to from a pose, stopped by seen surfaces."""
        if not self.is_solid:
            return pose.moved(motion)
        been = [moment.frame.pose.position[:2] for moment in self._moments if moment.frame.pose is not None]
        return walked(self.memory.surface, pose, motion, been=np.array(been).reshape(-1, 2))

    def dream_at(self, pose: Pose) -> Frame:
        """Dream what nobody has seen from a pose, anywhere: a step of its own, after which the walker has not moved
        and sees what it saw before, and `look` shows more. The dream is made with a frame's own camera, held upright
        there. Raises ActionError if the model does not dream separately, LookError for an invalid pose."""
        return self.step(dream_at(pose))

    def rollout(self, actions: Iterable[Action]) -> Rollout:
        return walk(self, actions)

    def fork(self) -> Session:
        """A second session at the same point; all pages are shared, because a page is never written twice."""
        self.settle()
        for page in self._held(self._moments):
            self.engine.cache.pool.share(page)
        return Session(
            self.engine,
            list(self._moments),
            list(self._actions),
            seed=self.seed,
            start=self.start,
            decoder=self.decoder,
            is_solid=self.is_solid,
        )

    def rewind(self, frames: int) -> Frame:
        """Undo steps. Raises ValueError past the beginning, or past the engine's rewind_limit."""
        reachable = min(self.engine.rewind_limit, len(self._moments) - 1)
        if not 0 <= frames <= reachable:
            raise ValueError(f"cannot rewind {frames} frames; the last {reachable} can be undone")
        if frames:
            self.settle()
            self._drop_prepared()
        for _ in range(frames):
            self._release([self._moments.pop()])
            self._actions.pop()
        return self.frame

    def dream_anew(self) -> Frame:
        """Dream the last dream again, with the next seed: the same memory before it, the same steps since. Raises
        ValueError if no dream can be undone."""
        if not self.engine.dreams_anew:
            raise ValueError("this model draws every frame whole and keeps no dream apart: nothing can be dreamt anew")
        newest = self.keyframes[-1].number
        numbers = [moment.keyframes[-1].number for moment in reversed(self._moments)]
        since = next((k for k, number in enumerate(numbers) if number != newest), 0)
        if not since or since > self.engine.rewind_limit:
            raise ValueError("nothing was dreamt in the steps that can be undone; walk on to where nothing was seen")
        again = self._actions[-since:]
        self.rewind(since)
        self.seed += 1
        for action in again:
            self.step(action)
        return self.frame

    def save(self, path: str | Path) -> None:
        """Write the complete state to one file; see saves/snapshot.py and emu/engine.py."""
        self.engine.save_session(self, path)

    @property
    def saves_changes(self) -> bool:
        """Whether the engine has files of changes."""
        return self.engine.saves_changes

    def save_changes(self, path: str | Path, before: Session) -> bool:
        """Write what has changed since `before`, a fork of this session, was saved, to a file that is loaded after
        that one's. Returns False, and writes nothing, if the two have nothing in common any more."""
        return self.engine.save_changes(self, path, before)

    def outlook(self) -> Remembered:
        """A view into the session as it is now, whatever the session does afterwards; may be asked for on any
        thread. Raises LookError for a world without poses or depth."""
        moments = tuple(self._moments)
        if self._looker is None:
            self._looker = Looker(self.camera)
        return Remembered(moments[-1].memory, [moment.frame for moment in moments], self._looker)

    def look(self, pose: Pose, *, camera: Camera | None = None, ipd_m: float = 0.0) -> Sight:
        """What memory shows from a pose, without a step or any change; see sight.py for what is in it. camera: the
        frames' own unless another is given; ipd_m: metres between two eyes, 0 for one. Raises LookError for a look
        beyond its limits, or into a world without poses."""
        return self.outlook().look(Gaze(pose, camera or self.camera, ipd_m))

    def settle(self) -> None:
        """Write the newest frame's keys and values now, in idle time, instead of when the next step needs them."""
        if not self.is_committed:
            self.engine.settle([self])

    def prepare(self, *, stop: Callable[[], bool] | None = None) -> None:
        """In idle time: settle, and dream what repeating the last action would have to dream. A step that needs it
        uses it, with the same result as without. stop: asked between the passes, whether to give up."""
        self.settle()
        action = next((action for action in reversed(self._actions) if action.at is None), None)
        if action is not None and self._prepared is None and not self._is_closed and self.engine.dreams_anew:
            self.engine.prepare(self, action, stop=stop)

    def keep_prepared(self, prepared: Prepared) -> None:
        self._prepared = prepared

    def take_prepared(self, action: Action) -> Prepared | None:
        """What was prepared for an action, if anything; its page belongs to the caller from now on."""
        prepared = self._prepared
        if prepared is None or prepared.action != action:
            return None
        self._prepared = None
        return prepared

    def _drop_prepared(self) -> None:
        if self._prepared is not None:
            self.engine.cache.pool.release(self._prepared.page)
            self._prepared = None

    def close(self) -> None:
        if not self._is_closed:
            self._drop_prepared()
            self._release(self._moments)
        self._is_closed = True

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def plan(self, action: Action) -> Plan:
        """Where the action leads and what is known of the view there."""
        if self._is_closed:
            raise RuntimeError("this session is closed; open another")
        said = (tuple(self.engine.text.encode(text)) for text in (action.text, *sayings(action)))
        most = self.engine.layout.text_capacity
        ids = next((ids for ids in said if len(ids) <= most), None)
        if ids is None:
            raise ActionError(
                f"too many words, '{action.text[:60]}'; a step reads at most {most} of them: say it in several"
            )
        here, pose = self.frame.pose, None
        if action.motion is None:
            pose = here  # words without a motion
        elif here is not None and len(self.memory):
            pose = self.walked(here, action.motion)
        if self.start in ("frame", "noise") or action.motion is None or pose is None:
            if self.start == "warp":
                raise ActionError(f"'{action.text}' has no motion to carry a view along; use start='auto'")
            return Plan(ids, pose)
        return Plan(ids, pose, self.memory.carried(pose, NUM_VIEWS))

    def accept(self, action: Action, frame: Frame, keyframe: Keyframe | None, memory: ViewMemory) -> None:
        """Go on to a frame with what is remembered by then. keyframe: the one that the step made, if it made one;
        its words are in its page, its own keys and values follow when it is settled."""
        keyframes = self.keyframes
        for page in self._moments[-1].held:
            self.engine.cache.pool.share(page)
        if keyframe is not None:
            keyframes, gone = (*keyframes, keyframe), keyframes[: -self.engine.layout.window]
            keyframes = keyframes[len(gone) :]
            for old in gone:
                self.engine.cache.pool.release(old.page)
        # what the newest keyframe still has to write stays to be written
        is_committed = keyframe is None and self.is_committed
        self.extend(action, Moment(frame, keyframes, memory), is_committed=is_committed)

    def remembering(self, frame: Frame, fresh: np.ndarray | None) -> ViewMemory:
        """The memory with a frame's own view. fresh (H, W) bool: what it showed first, None if everything."""
        if frame.pose is None or frame.depth is None:
            return self.memory.only(())  # the camera's pose has become unknown: what was seen cannot be placed
        return self.memory.with_view(view_index(frame.index), View(frame.pixels, frame.depth, frame.pose, fresh))

    def extend(self, action: Action, moment: Moment, *, is_committed: bool = False) -> None:
        """Go on to a moment, whose newest page is usually not settled yet, and forget what no rewind can reach."""
        self._drop_prepared()
        self._moments.append(moment)
        self._actions.append(action)
        self._is_committed = is_committed
        self._forget()

    def settled(self, moment: Moment | None = None) -> None:
        """The newest moment has been committed; moment: its new form, if that differs."""
        self._moments[-1] = moment or self._moments[-1]
        self._is_committed = True

    def resumed(self, moment: Moment) -> None:
        """Restore a stored moment that is not committed yet."""
        self._moments.append(moment)
        self._is_committed = False

    def _forget(self) -> None:
        """Free what no rewind can reach and no step will see; the engine says how much that is."""
        first = self.engine.num_pinned
        excess = max(0, len(self._moments) - 1 - first - self.engine.num_kept)
        self._release(self._moments[first : first + excess])
        del self._moments[first : first + excess]

    def _release(self, moments: Iterable[Moment]) -> None:
        for page in self._held(moments):
            self.engine.cache.pool.release(page)

    @staticmethod
    def _held(moments: Iterable[Moment]) -> list[int]:
        return [page for moment in moments for page in moment.held]
