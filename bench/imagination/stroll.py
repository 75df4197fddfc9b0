"""Strolls into what was dreamt, as a person would walk: away from one true frame, on, and back by the same steps.

Half a turn on the spot shows only what was dreamt at a usual distance. A walker who goes on comes near to dreams, goes
past them and on to what lies behind; and one who goes back expects to find again what was there. A stroll turns left by
a quarter, goes on, and turns to the freer side where something is near. It is led by the depth of its own frames, so
those of a true scene and of a dream go different ways; they are compared as distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...scenes.explorer import SceneSession
from ...scenes.splits import make_scene
from ...world.action import Action, parse_action, say
from ...world.frame import Explorer, Frame
from ...world.stepping.elsewhere import way_to
from .measures import Traits, joined, measure, persistence, traits

STEPS, FIRST_TURNS = 60, 6
SCORED = range(14, STEPS + 1, 3)  # frames: by then a stroll is on its way
SHOWN = range(0, STEPS + 1, 4)  # of the sheet
NEAR_M, CLEAR_M = 1.3, 2.2  # something nearer than the first is in the way; a turn ends when the second is free
STUCK, TURNS_AWAY = 0.05, 4  # metres that a step must lead on; turns after one that does not
LEAST = 0.005  # metres; a step that led less far had been stopped, and is not walked back
TRUTH, MODEL, ALONE, FROZEN = "truth", "model", "memory alone", "frozen"
MEASURED = ("sharpness", "things", "structure", "pieces", "doubt", "auc", "kid")  # as of half a turn
LEFT, RIGHT, ON = (parse_action(text) for text in ("turn left 15 degrees", "turn right 15 degrees", "move forward"))


@dataclass(frozen=True)
class Stroll:
    """What one row showed on one stroll. traits: of its frames; back: PSNR in dB between the frames on the way back and
    those at the same poses on the way there, None if it did not go back; metres: how far it went; tiles: the frames of
    the sheet."""

    traits: Traits
    back: float | None
    metres: float
    tiles: np.ndarray


def stroll(walk: Explorer, *, number: int, seed: int = 0, is_back: bool = False) -> Stroll:
    """Let a walk stroll, from where it is."""
    frames, actions = strolled(walk)
    pixels = np.stack([frame.pixels for frame in frames])
    metres = sum(_apart(a, b) for a, b in pairwise(frames))
    back = way_back(walk, frames, actions) if is_back else None
    return Stroll(_traits(pixels, number, seed), back, metres, pixels[list(SHOWN)])


def strolled(walk: Explorer) -> tuple[list[Frame], list[Action]]:
    """The STEPS + 1 frames of a stroll, the first before any step, and its actions."""
    frames, actions, turning, is_stuck = [walk.frame], [], None, 0
    for step in range(STEPS):
        left, middle, right = _free(frames[-1])
        if step < FIRST_TURNS:
            action = LEFT
        elif middle < NEAR_M or is_stuck or (turning is not None and middle < CLEAR_M):
            turning = turning or (LEFT if left > right else RIGHT)
            action, is_stuck = turning, max(0, is_stuck - 1)
        else:
            turning, action = None, ON
        frames.append(walk.step(action))
        actions.append(action)
        if action is ON and _apart(frames[-1], frames[-2]) < STUCK:
            is_stuck = TURNS_AWAY
    return frames, actions


def way_back(walk: Explorer, frames: Sequence[Frame], actions: Sequence[Action]) -> float | None:
    """Undo a stroll step by step; the mean PSNR in dB between the frames and those at the same poses on the way there,
    up to where something is in the way. None if that is at the first step."""
    there, again = [], []
    for before, after, action in zip(reversed(frames[:-1]), reversed(frames[1:]), reversed(actions), strict=True):
        if action is ON and _apart(before, after) < LEAST:
            continue  # it had been stopped
        here = walk.frame.pose
        assert here is not None and before.pose is not None, "these worlds have poses"
        frame = walk.step(parse_action(say(way_to(here, before.pose))))
        if _apart(frame, before) > STUCK:
            break
        there.append(before.pixels)
        again.append(frame.pixels)
    return persistence(np.stack(there), np.stack(again)) if there else None


def true_stroll(number: int, *, split: str) -> Stroll:
    return stroll(SceneSession(make_scene(split, number)), number=number)


def dreamt_stroll(engine, number: int, *, split: str, seed: int, decoder: str | None = None) -> Stroll:
    """A stroll in an engine's dream of a scene, from one true frame of it, and the way back."""
    first = SceneSession(make_scene(split, number)).frame
    walk = engine.session(Frame(0, first.pixels, pose=first.pose), seed=seed, solid=True, decoder=decoder)
    try:
        return stroll(walk, number=number, seed=seed, is_back=decoder is None)
    finally:
        walk.close()


def frozen_stroll(number: int, *, split: str) -> Stroll:
    """The first frame again and again."""
    pixels = np.broadcast_to(SceneSession(make_scene(split, number)).frame.pixels, (STEPS + 1, 128, 128, 3))
    return Stroll(_traits(pixels, number, 0), None, 0.0, pixels[list(SHOWN)])


def strolls(engine, number: int, *, split: str) -> dict[str, Stroll]:
    """Every row's stroll through a scene, or through what is dreamt of it."""
    return {
        TRUTH: true_stroll(number, split=split),
        MODEL: dreamt_stroll(engine, number, split=split, seed=1),
        ALONE: dreamt_stroll(engine, number, split=split, seed=1, decoder="carry"),
        FROZEN: frozen_stroll(number, split=split),
    }


def report_of(scenes: Sequence[dict[str, Stroll]]) -> dict[str, dict[str, float | None]]:
    """The measures of every row over all scenes."""
    true = joined([scene[TRUTH].traits for scene in scenes])
    report: dict[str, dict[str, float | None]] = {}
    for name in scenes[0]:
        rows = [scene[name] for scene in scenes]
        found = measure(joined([row.traits for row in rows]), true)
        back = [row.back for row in rows if row.back is not None]
        report[name] = {what: found.get(what) for what in MEASURED}
        report[name] |= {
            "back": float(np.mean(back)) if back else None,
            "metres": float(np.mean([r.metres for r in rows])),
        }
    return report


def sheet_of(scenes: Sequence[dict[str, Stroll]]) -> np.ndarray:
    """The model's strolls, one below the other, (H, W, 3) uint8."""
    return np.concatenate([np.concatenate(list(scene[MODEL].tiles), 1) for scene in scenes])


def _traits(pixels: np.ndarray, number: int, seed: int) -> Traits:
    """The traits of these frames, all of each frame counting as new: which part really is depends on the way."""
    chosen = pixels[list(SCORED)]
    return traits(chosen, np.ones(chosen.shape[:3], bool), SCORED, scene=number, seed=seed)


def _free(frame: Frame) -> tuple[float, float, float]:
    """Metres that are free to the left, ahead and to the right, in a band about the middle of a frame's height."""
    assert frame.depth is not None, "a walk with solid surfaces has depth"
    H, W = frame.depth.shape
    band = np.median(frame.depth[H * 7 // 16 : H * 19 // 32].astype(np.float32), 0)
    side = W * 5 // 16
    ahead = band[W * 11 // 32 : W * 21 // 32]
    return float(np.median(band[:side])), float(np.percentile(ahead, 20)), float(np.median(band[-side:]))


def _apart(a: Frame, b: Frame) -> float:
    assert a.pose is not None and b.pose is not None, "these worlds have poses"
    return a.pose.distance_to(b.pose)
