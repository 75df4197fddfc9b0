"""What an explorer returns, what every explorer can do, and what some can do in addition. Numpy only, so that viewers
need nothing heavier.

Code that needs more than an Explorer asks for it by the protocol's name: isinstance(explorer, Dreaming). Looking into a
world from any pose is in sight.py (Looking).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .action import Action
from .pose import Camera, Motion, Pose


@dataclass(frozen=True)
class Timing:
    """Where a step's time went, in milliseconds; 0 for a part that did not happen.

    warp: remembered views carried into the new one; denoise: all denoising steps; decode: tokens to pixels; commit:
    writing the previous frame into the cache (done after display, and counted for the step that waited for it).
    """

    warp_ms: float = 0.0
    denoise_ms: float = 0.0
    decode_ms: float = 0.0
    commit_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        return self.warp_ms + self.denoise_ms + self.decode_ms + self.commit_ms


@dataclass(frozen=True)
class Frame:
    """One frame of a walk.

    index: 0 for the first; pixels (H, W, 3) uint8 RGB; tokens (h, w) int32 or None where there is no tokenizer;
    depth (H, W) float32 metres along the camera's forward axis or None; pose or None where motion is unknown.
    """

    index: int
    pixels: np.ndarray
    tokens: np.ndarray | None = None
    depth: np.ndarray | None = None
    pose: Pose | None = None
    timing: Timing = field(default_factory=Timing, compare=False)

    @property
    def digest(self) -> str:
        """16 hex digits of SHA-256 over the index, tokens and pixels: equal digests mean equal frames."""
        hasher = hashlib.sha256(self.index.to_bytes(8, "little"))
        if self.tokens is not None:
            hasher.update(np.ascontiguousarray(self.tokens, dtype=np.int32).tobytes())
        hasher.update(np.ascontiguousarray(self.pixels).tobytes())
        return hasher.hexdigest()[:16]


@dataclass(frozen=True)
class Rollout:
    """A walk: `frames[0]` is its beginning and `actions[i]` led from frame i to frame i + 1."""

    frames: tuple[Frame, ...]
    actions: tuple[Action, ...]

    def __post_init__(self):
        if len(self.frames) != len(self.actions) + 1:
            raise ValueError(
                f"a rollout of {len(self.frames)} frames and {len(self.actions)} actions; "
                "wanted one action between every two frames"
            )

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


@runtime_checkable
class Explorer(Protocol):
    """Something to walk through: a dream (Session) or the truth (SceneSession)."""

    @property
    def frame(self) -> Frame:
        """The current frame."""

    def step(self, action: Action) -> Frame:
        """Act, and return the resulting frame."""

    def rollout(self, actions: Iterable[Action]) -> Rollout:
        """Step through all actions; the rollout begins with the current frame."""

    def fork(self) -> Explorer:
        """A second explorer at the same point; from then on the two are independent."""

    def rewind(self, frames: int) -> Frame:
        """Undo the last `frames` steps and return the frame that is current then; ValueError past the beginning."""

    def save(self, path: str | Path) -> None:
        """Write everything that is needed to continue from here in another process."""

    def close(self) -> None:
        """Free its resources; a closed explorer cannot step."""


def walk(explorer: Explorer, actions: Iterable[Action]) -> Rollout:
    """`Explorer.rollout` for any explorer that can step."""
    actions = tuple(actions)
    return Rollout((explorer.frame, *(explorer.step(action) for action in actions)), actions)


class DreamtMoment(Protocol):
    """A moment of a dream to which a walk can be rewound."""

    @property
    def frame(self) -> Frame: ...


@runtime_checkable
class Dreaming(Protocol):
    """An explorer that can repeat its last dream with another result. moments: those that it can be rewound to, and
    the present."""

    @property
    def moments(self) -> Sequence[DreamtMoment]: ...

    def dream_anew(self) -> Frame:
        """Dream the last dream again, with the next seed, and return the current frame; ValueError if there is none."""


@runtime_checkable
class Preparing(Protocol):
    """An explorer that can dream ahead in idle time, which changes no frame. actions: those done, oldest first."""

    @property
    def actions(self) -> tuple[Action, ...]: ...

    def prepare(self, *, stop: Callable[[], bool]) -> None:
        """Dream what repeating the last action would need. stop: asked often, whether to give up."""


class SteppingEngine(Protocol):
    """An engine that steps several explorers at once. gains_together: whether that takes less time than their steps
    one after the other, as on a GPU; on a CPU it does not."""

    gains_together: bool

    def step_many(self, sessions: Sequence[Any], actions: Sequence[Action]) -> list[Frame]:
        """One step of each. Raises before any has moved."""

    def settle(self, sessions: Sequence[Any]) -> None:
        """Run their commit passes now instead of when the next step needs them."""


@runtime_checkable
class Batched(Protocol):
    """An explorer whose engine can step several explorers at once."""

    engine: SteppingEngine


@runtime_checkable
class Changing(Protocol):
    """An explorer that, if saves_changes, can write what is new since an earlier fork of it was written."""

    saves_changes: bool

    def save_changes(self, path: Path, before: Explorer) -> bool:
        """Write what is new since `before`; returns False, and writes nothing, if that is impossible this time."""


@runtime_checkable
class Retracing(Protocol):
    """An explorer that can repeat a step without making its frame, until somebody asks for `frame`."""

    def retrace(self, action: Action) -> None: ...


@runtime_checkable
class Solid(Protocol):
    """An explorer that knows where a motion leads: solid surfaces stop it, as far as they are known."""

    def walked(self, pose: Pose, motion: Motion) -> Pose: ...


@runtime_checkable
class HasCamera(Protocol):
    """An explorer that knows the camera of its frames."""

    @property
    def camera(self) -> Camera: ...
