"""One walk through a dream: its pages, its remembered views, its random state. Steps go through the engine.

The session owns its pages and gives them back on close; the tensors behind them belong to the engine's cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .action import Action, ActionError
from .frame import Frame, Rollout, walk
from .geometry import View, Warp, warp
from .memory import ViewMemory, visible_pages
from .pose import Camera, Pose

if TYPE_CHECKING:
    from torch import Tensor

    from .engine import Engine

REWIND_LIMIT = 120
STARTS = ("auto", "warp", "frame", "noise")
DECODERS = ("dida", "autoregressive", "carry")
NUM_VIEWS = 4  # remembered views carried into a canvas, as in training


@dataclass(frozen=True)
class Moment:
    """A frame with all that stepping on from it needs: its page and the views remembered by then."""

    frame: Frame
    page: int
    memory: ViewMemory


@dataclass(frozen=True)
class Plan:
    """What a step starts from: the words' ids, the pose that the motion leads to, the carried view or None, and the
    codes (1, N) that the tokenizer has for it."""

    text: tuple[int, ...]
    pose: Pose | None
    carried: Warp | None = None
    codes: Tensor | None = None


class Session:
    """An Explorer over a world model. Made by `Engine.session` and `Engine.load_session`.

    start: where canvases begin: carried views ("warp"), the frame before ("frame"), pure noise ("noise"), or "auto":
    carried views where the action has a motion and the frame a pose, else the frame before. decoder: "dida",
    "autoregressive" (token by token), or "carry", which shows the carried view with no model: a baseline.
    """

    def __init__(self, engine: Engine, moments: list[Moment], actions: list[Action], *, seed: int, start: str = "auto",
                 decoder: str = "dida"):  # fmt: skip
        if start not in STARTS or decoder not in DECODERS:
            raise ValueError(f"start '{start}' or decoder '{decoder}' unknown; known: {STARTS} and {DECODERS}")
        self.engine, self.seed, self.start, self.decoder = engine, seed, start, decoder
        self._moments, self._actions = moments, actions
        self.is_committed = True
        self._is_closed = False

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
    def pages(self) -> list[int]:
        """The pages of all moments, oldest first."""
        return [moment.page for moment in self._moments]

    def history(self) -> list[int]:
        """The pages that the next step sees."""
        return visible_pages(self.pages, self.engine.layout.window)

    def step(self, action: Action) -> Frame:
        """Dream the frame that the action leads to. Raises ActionError for words too long for a page."""
        return self.engine.step_many([self], [action])[0]

    def observe(self, action: Action, pixels: np.ndarray, pose: Pose | None = None) -> Frame:
        """Take a true frame into the history instead of dreaming one: pixels (H, W, 3) uint8."""
        return self.engine.observe(self, action, pixels, pose)

    def rollout(self, actions: Iterable[Action]) -> Rollout:
        return walk(self, actions)

    def fork(self) -> Session:
        """A second session at the same point; all pages are shared, for a page is never written twice."""
        self.settle()
        for page in self.pages:
            self.engine.cache.pool.share(page)
        return Session(self.engine, list(self._moments), list(self._actions), seed=self.seed, start=self.start,
                       decoder=self.decoder)  # fmt: skip

    def rewind(self, frames: int) -> Frame:
        """Undo steps. Raises ValueError past the beginning, or past the last REWIND_LIMIT frames."""
        reachable = min(REWIND_LIMIT, len(self._moments) - 1)
        if not 0 <= frames <= reachable:
            raise ValueError(f"cannot rewind {frames} frames; the last {reachable} can be undone")
        if frames:
            self.settle()
        for _ in range(frames):
            self.engine.cache.pool.release(self._moments.pop().page)
            self._actions.pop()
        return self.frame

    def save(self, path: str | Path) -> None:
        """Write the complete state to one file; see snapshot.py."""
        from .snapshot import save_session

        save_session(self, path)

    def settle(self) -> None:
        """Write the newest frame's keys and values now, in idle time, instead of when the next step needs them."""
        if not self.is_committed:
            self.engine.settle([self])

    def close(self) -> None:
        if not self._is_closed:
            for page in self.pages:
                self.engine.cache.pool.release(page)
        self._is_closed = True

    def plan(self, action: Action) -> Plan:
        """Where the action leads and what is known of the view there."""
        if self._is_closed:
            raise RuntimeError("this session is closed; open another")
        ids = tuple(self.engine.text.encode(action.text))
        if len(ids) > self.engine.layout.text_capacity:
            raise ActionError(
                f"an action of {len(ids)} tokens, '{action.text[:60]}'; a step reads at most "
                f"{self.engine.layout.text_capacity}: say it in several"
            )
        can_carry = action.motion is not None and self.frame.pose is not None and len(self.memory) > 0
        pose = self.frame.pose.moved(action.motion) if can_carry else None
        if self.start in ("frame", "noise") or not can_carry:
            if self.start == "warp":
                raise ActionError(f"'{action.text}' has no motion to carry a view along; use start='auto'")
            return Plan(ids, pose)
        return Plan(ids, pose, warp(self.memory.choose(pose, NUM_VIEWS), pose, self.camera))

    def accept(self, action: Action, frame: Frame, page: int) -> None:
        """Go on from a frame whose words are in `page`; its own keys and values follow when it is settled."""
        memory = self.memory
        if frame.pose is not None and frame.depth is not None:
            memory = memory.with_view(frame.index, View(frame.pixels, frame.depth, frame.pose, frame.tokens))
        else:
            memory = memory.only(())  # where the camera is has become unknown: what was seen cannot be placed
        self._moments.append(Moment(frame, page, memory))
        self._actions.append(action)
        self.is_committed = False
        self._forget()

    def _forget(self) -> None:
        """Give back what no rewind can reach: moments before the limit, but for the pages that the oldest one sees."""
        excess = len(self._moments) - 1 - REWIND_LIMIT - self.engine.layout.window
        for moment in self._moments[: max(0, excess)]:
            self.engine.cache.pool.release(moment.page)
        del self._moments[: max(0, excess)]
