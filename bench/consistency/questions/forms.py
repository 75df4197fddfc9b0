"""How long a run is: quick for every change, release for what is published with the weights, full for a paper. All ask
the same questions, of more or fewer scenes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """Sizes of a run. scenes: test scenes of each task; long_scenes: of what takes long (T9, T10, and gaps over 64);
    unseen_scenes: of T11's half turn, for a distribution is not to be had from a few.

    turns: T1's angles in degrees; gaps: T6's, in frames; repeats: T8's steps of each action; long_frames, rest_frames:
    the actions of T9 and of T10's rest.
    """

    name: str
    scenes: int
    long_scenes: int
    unseen_scenes: int
    turns: tuple[int, ...]
    gaps: tuple[int, ...]
    repeats: int
    long_frames: int
    rest_frames: int


FORMS = {
    "tiny": Form("tiny", 1, 1, 1, (90,), (16,), 1, 48, 12),
    "quick": Form("quick", 2, 2, 12, (60, 120), (16, 64), 1, 200, 60),
    "release": Form("release", 8, 2, 16, (30, 60, 90, 120, 180), (16, 64, 256, 1024), 1, 1000, 200),
    "full": Form("full", 32, 8, 32, (30, 60, 90, 120, 180), (16, 32, 64, 128, 256, 512, 1024), 2, 1000, 200),
}
SHORT_GAP = 64
