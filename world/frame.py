"""What an explorer returns, what every explorer can do, and what some can do besides. Numpy only, so that viewers need
nothing heavier.

Whoever wants more than an Explorer asks for it by the protocol's name: isinstance(explorer, Dreaming). Looking into a
world from anywhere is in sight.py (Looking).
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
    """Where a step's time went, in milliseconds; 0 where a part did not happen.

    warp: remembered views carried into the new one; denoise: all denoising steps; decode: tokens to pixels; commit:
    writing the frame before into the cache (paid after display, charged to the step that waited for it).
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
    """A walk: `frames[0]` is where it began and `actions[i]` led from frame i to frame i + 1."""

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
        """The frame on show."""

    def step(self, action: Action) -> Frame:
        """Act, and return the frame that comes of it."""

    def rollout(self, actions: Iterable[Action]) -> Rollout:
        """Step through all actions; the rollout begins with the frame on show."""

    def fork(self) -> Explorer:
        """A second explorer at the same point; what either does later leaves the other alone."""

    def rewind(self, frames: int) -> Frame:
        """Undo the last `frames` steps and return the frame then on show; ValueError past the beginning."""

    def save(self, path: str | Path) -> None:
        """Write everything that is needed to go on from here in another process."""

    def close(self) -> None:
        """Give back what is held; an explorer that is closed cannot step."""


def walk(explorer: Explorer, actions: Iterable[Action]) -> Rollout:
    """`Explorer.rollout` for any explorer that can step."""
    actions = tuple(actions)
    return Rollout((explorer.frame, *(explorer.step(action) for action in actions)), actions)


class DreamtMoment(Protocol):
    """A moment of a dream that can be gone back to."""

    @property
    def frame(self) -> Frame: ...


@runtime_checkable
class Dreaming(Protocol):
    """An explorer that can dream otherwise what it dreamt last. moments: those that it can be rewound to, and now."""

    @property
    def moments(self) -> Sequence[DreamtMoment]: ...

    def dream_anew(self) -> Frame:
        """The frame on show after the last dream was dreamt again, from the next seed on; ValueError where it has
        none."""


@runtime_checkable
class Preparing(Protocol):
    """An explorer that can dream ahead in idle time, which changes no frame. actions: those done, oldest first."""

    @property
    def actions(self) -> tuple[Action, ...]: ...

    def prepare(self, *, stop: Callable[[], bool]) -> None:
        """Dream what the last action once more would need. stop: asked often, whether to leave it be."""


class SteppingEngine(Protocol):
    """What steps several explorers at once."""

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
        """Write what is new since `before`; False, and nothing written, where that cannot be this time."""


@runtime_checkable
class Retracing(Protocol):
    """An explorer that can do a step again without making its frame, until somebody asks for `frame`."""

    def retrace(self, action: Action) -> None: ...


@runtime_checkable
class Solid(Protocol):
    """An explorer that knows where a motion leads: what is solid stops it, as far as that is known."""

    def walked(self, pose: Pose, motion: Motion) -> Pose: ...


@runtime_checkable
class HasCamera(Protocol):
    """An explorer that says with what camera its frames are taken."""

    @property
    def camera(self) -> Camera: ...
