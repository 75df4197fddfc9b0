"""`roam bench approach`: what a walker sees of objects that come near, from one true frame: sharp, whole and in place,
or magnified, torn and with specks? Nothing in what is measured is dreamt: every pixel of it was in the first frame.

Rows: the model; the truth; the frozen first frame; and the first frame carried without dreaming, once by the true depth
(the best that depth could do) and once by the model's. These two are also looked at from places 2 to 6 m on and to both
sides, because things whose depth is wrong come apart when one walks past them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..scenes.render import FAR, TrueView, render
from ..scenes.scene import GROUND_ID, Scene
from ..scenes.splits import make_scene, scene_seed
from ..world.action import Action, say
from ..world.dreamer import without_specks
from ..world.engine import Engine
from ..world.frame import Frame
from ..world.pose import Camera, Motion, Pose
from ..world.spatial.warp import View, warp
from .consistency.questions.places import find_start, free_poses, things
from .consistency.questions.visibility import reveal
from .machine import Machine
from .reports import keep_json, keep_picture, keep_text

STRIDE = 0.4  # metres of a step
BEGIN, END = (2.6, 5.0), 0.9  # metres to the object at first and at last
BESIDE = 0.4  # metres to the side at the end, where torn pictures come apart
PAST_DEG, PAST_M = (-25.0, 25.0), (2.0, 4.0, 6.0)  # directions and ways from the first frame of what is walked past
LEAST_SEEN = 0.02  # share of such a view that the first frame had shown
APART = 24  # of 255 in any channel, by which a speck differs from all its neighbours
PSNR_CAP = 60.0


@dataclass(frozen=True)
class Approach:
    """A walk up to something and a step past it. poses and views: one more than actions; seen (n + 1, H, W) bool: what
    the first view had shown, by the truth."""

    number: int
    actions: tuple[Action, ...]
    poses: tuple[Pose, ...]
    views: tuple[TrueView, ...]
    seen: np.ndarray


def approach(number: int, *, split: str = "dev") -> Approach:
    """The number-th scene of a split: up to a thing in two scenes, to a wall or a house in the next two."""
    scene = make_scene(split, number)
    rng = np.random.default_rng([scene_seed(split, number), 53])
    all_things = set(things(scene))
    wanted = all_things if number // 2 % 2 == 0 else set(map(int, np.unique(scene.ids))) - all_things
    start = find_start(scene, rng, lambda pose: bool(_way(scene, pose, wanted)))
    if start is None:
        raise ValueError(f"scene {number} of {split}: nothing to walk up to was found")
    actions = _way(scene, start, wanted)
    poses = free_poses(scene, start, actions)
    if poses is None:
        raise ValueError(f"scene {number} of {split}: something stands in the way")
    return _seen_from(number, scene, poses, actions)


def past(number: int, *, split: str = "dev") -> Approach:
    """Places from which the number-th scene of a split is seen after walking on past what the first view shows."""
    scene = make_scene(split, number)
    rng = np.random.default_rng([scene_seed(split, number), 54])
    start = find_start(scene, rng, lambda pose: True)
    if start is None:
        raise ValueError(f"scene {number} of {split}: no place with a view was found")
    poses = [start]
    for turn, way in itertools.product(PAST_DEG, PAST_M):
        there = start.moved(Motion(yaw_deg=turn)).moved(Motion(forward=way)).moved(Motion(yaw_deg=-turn))
        if scene.is_free(*there.position[:2], 0.2):
            poses.append(there)
    walk = _seen_from(number, scene, poses)
    shown = [k for k, seen in enumerate(walk.seen) if seen.mean() > LEAST_SEEN]
    if len(shown) < 2:
        raise ValueError(f"scene {number} of {split}: nothing that the first view shows is seen from elsewhere")
    return replace(
        walk,
        poses=tuple(walk.poses[k] for k in shown),
        views=tuple(walk.views[k] for k in shown),
        seen=walk.seen[shown],
    )


def _seen_from(number: int, scene: Scene, poses: Sequence[Pose], actions: Sequence[Action] = ()) -> Approach:
    views = tuple(render(scene, pose, Camera()) for pose in poses)
    first = views[0].depth[None], poses[0].rotation[None], np.array([poses[0].position])
    seen = [reveal(view.depth, pose, *first, Camera()) for view, pose in zip(views, poses, strict=True)]
    return Approach(number, tuple(actions), tuple(poses), views, np.stack(seen))


def _way(scene: Scene, pose: Pose, wanted: set[int]) -> list[Action]:
    """The steps up to what is in the middle of the view, if that is wanted and the way is free; else none."""
    view = render(scene, pose, Camera(64, 64))
    middle = view.ids[26:38, 28:36]
    ids, counts = np.unique(middle[middle > GROUND_ID], return_counts=True)
    if not len(ids) or int(ids[counts.argmax()]) not in wanted:
        return []
    away = float(view.depth[26:38, 28:36][middle == ids[counts.argmax()]].min())
    if not BEGIN[0] <= away <= BEGIN[1]:
        return []
    steps = [Motion(forward=STRIDE)] * int((away - END) / STRIDE)
    for side in (1, -1):
        actions = [Action(say(m), m) for m in (*steps, Motion(right=side * BESIDE))]
        if free_poses(scene, pose, actions):
            return actions
    return []


def specks(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels (H, W, 3) uint8 that differ from all eight around them."""
    wide = cv2.copyMakeBorder(pixels, 1, 1, 1, 1, cv2.BORDER_REFLECT_101).astype(np.int16)
    H, W = pixels.shape[:2]
    alone = np.ones((H, W), bool)
    for v in range(3):
        for u in range(3):
            if (v, u) != (1, 1):
                alone &= np.abs(wide[v : v + H, u : u + W] - pixels).max(-1) > APART
    return alone


def debris(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels (H, W, 3) uint8 of fragments too small to be most of the 5 x 5 around them."""
    calm = cv2.medianBlur(np.ascontiguousarray(pixels), 5).astype(np.int16)
    return np.abs(calm - pixels).max(-1) > APART


def gradient(pixels: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, dx, 1 - dx, scale=0.125) for dx in (1, 0))
    return np.hypot(x, y)


def answers(engine: Engine, walk: Approach) -> dict[str, list[Frame]]:
    """What each row shows at every pose: the truth; the first frame for ever; the first frame carried by the true
    depth and by the model's, holes filled from their surroundings; the model."""
    first, begin = walk.views[0], walk.poses[0]
    session = engine.session(Frame(0, first.pixels, pose=begin), seed=walk.number)
    own = session.frame.depth
    assert own is not None, "our models have depth"
    model = [session.frame] + [session.step(action) for action in walk.actions]
    session.close()
    rows: dict[str, list[Frame]] = {"truth": [], "frozen": [], "true depth": [], "memory alone": []}
    for index, (view, pose) in enumerate(zip(walk.views, walk.poses, strict=True)):
        rows["truth"].append(Frame(index, view.pixels, depth=view.depth, pose=pose))
        rows["frozen"].append(Frame(index, first.pixels, depth=first.depth, pose=pose))
        for row, depth in (("true depth", first.depth), ("memory alone", own)):
            carried = without_specks(warp([View(first.pixels, depth, begin)], pose, Camera()))
            rows[row].append(Frame(index, carried.pixels, depth=carried.depth, pose=pose))
    return rows | ({"model": model} if walk.actions else {})


def scores(walk: Approach, frames: list[Frame]) -> np.ndarray:
    """(n, 6): of each frame but the first, where it had been seen: gradient and the truth's, specks and debris in
    thousandths of the pixels, relative error of depth, each at most 1, PSNR in dB."""
    rows = []
    for view, seen, frame in list(zip(walk.views, walk.seen, frames, strict=True))[1:]:
        near = seen & (view.depth < FAR)
        if not near.any():
            continue
        error = np.minimum(np.abs(frame.depth - view.depth) / view.depth, 1)[near].mean()
        squared = ((view.pixels.astype(np.float64) - frame.pixels) ** 2)[seen].mean()
        rows.append(
            (
                gradient(frame.pixels)[seen].mean(),
                gradient(view.pixels)[seen].mean(),
                1e3 * specks(frame.pixels)[seen].mean(),
                1e3 * debris(frame.pixels)[seen].mean(),
                error,
                min(PSNR_CAP, 10 * np.log10(255**2 / max(squared, 1e-9))),
            )
        )
    return np.array(rows).reshape(-1, 6)


def run(
    engine: Engine, scenes: int, out: Path, *, split: str = "dev", progress: Callable[[float], None] | None = None
) -> dict:
    """Walk up to something in each scene; writes approach.json, approach.md and a sheet into `out`; returns the
    report: the mean over walks of each row's measures, sharpness over the truth's."""
    sheet: list[list[list[np.ndarray]]] = []
    walks, passed = _walks(approach, scenes, split), _walks(past, scenes, split)
    rows: dict[str, list[np.ndarray]] = {}
    rows_past: dict[str, list[np.ndarray]] = {}
    for done, walk in enumerate([*walks, *passed], 1):
        shown = answers(engine, walk)
        for row, frames in shown.items():
            (rows if walk.actions else rows_past).setdefault(row, []).append(scores(walk, frames).mean(0))
        last = "model" if walk.actions else "memory alone"
        sheet.append([[frame.pixels for frame in shown[row]] for row in ("truth", "true depth", last)])
        if progress:
            progress(done / (len(walks) + len(passed)))
    report = {
        "machine": Machine.here().as_dict(),
        "weights": engine.checkpoint.digest,
        "split": split,
        "scenes": [walk.number for walk in walks],
        "scenes past": [walk.number for walk in passed],
        "rows": _means(rows),
        "past": _means(rows_past),
    }
    keep_json(out / "approach.json", report)
    keep_text(out / "approach.md", markdown(report))
    draw_sheet(sheet, out / "approach.png")
    return report


def _means(rows: dict[str, list[np.ndarray]]) -> dict[str, dict[str, float]]:
    means = {row: np.mean(values, 0) for row, values in rows.items()}
    return {row: dict(zip(MEASURES, (float(m[0] / m[1]), *map(float, m[2:])), strict=True)) for row, m in means.items()}


MEASURES = ("sharpness", "specks", "debris", "depth", "psnr")


def markdown(report: dict) -> str:
    """The report as two tables for people."""
    lines = [f"{len(report['scenes'])} and {len(report['scenes past'])} {report['split']} scenes."]
    for title, rows in (("what had been seen, come near", "rows"), ("the same, walked past", "past")):
        head = (
            title,
            "sharpness over the truth's",
            "specks, 1/1000",
            "debris, 1/1000",
            "depth AbsRel",
            "PSNR, dB",
        )
        lines += ["", "| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
        for row, m in report[rows].items():
            cells = [f"{m['sharpness']:.2f}", f"{m['specks']:.2f}", f"{m['debris']:.2f}", f"{m['depth']:.3f}"]
            lines.append("| " + " | ".join([row, *cells, f"{m['psnr']:.2f}"]) + " |")
    return "\n".join(lines) + "\n"


def draw_sheet(sheet: list[list[list[np.ndarray]]], path: Path) -> None:
    """Three rows a walk, the truth, the true depth and the model, six frames each."""
    lines = []
    for walk in sheet:
        for frames in walk:
            chosen = np.linspace(0, len(frames) - 1, 6).round().astype(int)
            lines.append(np.concatenate([frames[k] for k in chosen], 1))
        lines.append(np.full((6, lines[-1].shape[1], 3), 255, np.uint8))
    keep_picture(path, np.concatenate(lines[:-1], 0))


def _walks(make: Callable[..., Approach], count: int, split: str) -> list[Approach]:
    """The first scenes of a split in which there is an object to walk up to, or past."""
    walks: list[Approach] = []
    number = 0
    while len(walks) < count and number < 4 * count + 8:
        with contextlib.suppress(ValueError):
            walks.append(make(number, split=split))
        number += 1
    return walks


def main(
    weights: Path | None = None, *, scenes: int = 10, split: str = "dev", out: Path = Path("roam-out/approach")
) -> dict:
    """Run, print and keep: what `roam bench approach` does."""
    from rich.console import Console

    from ..viewer.commands.bars import Bars
    from ..viewer.play.progress import waiting

    console = Console(markup=False, emoji=False)
    console.print(str(Machine.here()))
    with waiting("opening the model"):
        engine = Engine.from_checkpoint(weights)
    with Bars(console=console, transient=True) as bar:
        task = bar.add_task("walking up", total=1.0)
        report = run(
            engine,
            scenes,
            out,
            split=split,
            progress=lambda share: bar.update(task, completed=share),
        )
    console.print(markdown(report), markup=False)
    console.print(f"the sheet and the figures: {out}")
    print(json.dumps({"bench": "approach", "rows": report["rows"], "past": report["past"]}))
    return report
