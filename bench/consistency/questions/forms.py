"""Sizes of a run: quick for every change, release for what is published with the weights, full for a paper. All ask
the same questions, of more or fewer scenes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """Sizes of a run."""

    name: str
    scenes: int  # test scenes of each task
    long_scenes: int  # scenes of what takes long: T9, T10, and T6's gaps over 64
    unseen_scenes: int  # scenes of T11's half turn: a few give no distribution
    turns: tuple[int, ...]  # T1's angles in degrees
    gaps: tuple[int, ...]  # T6's, in frames
    repeats: int  # steps of each action in T8
    long_frames: int  # actions of T9
    rest_frames: int  # actions of T10's rest


FORMS = {
    "tiny": Form("tiny", 1, 1, 1, (90,), (16,), 1, 48, 12),
    "quick": Form("quick", 2, 2, 12, (60, 120), (16, 64), 1, 200, 60),
    "release": Form("release", 8, 2, 16, (30, 60, 90, 120, 180), (16, 64, 256, 1024), 1, 1000, 200),
    "full": Form("full", 32, 8, 32, (30, 60, 90, 120, 180), (16, 32, 64, 128, 256, 512, 1024), 2, 1000, 200),
}
SHORT_GAP = 64
