"""`roam bench quick`: does the dream follow its words and keep its world, how well, and how fast? Some minutes.

Test scenes that were not used in training. Each figure of the model is compared with a frozen frame, a mean picture,
carried views without a model, the tokenizer's best, and the truth.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..scenes.paths import poses_of, random_walk
from ..scenes.render import FAR, render
from ..scenes.splits import make_scene, scene_seed
from ..world.action import Action
from ..world.engine import Engine
from ..world.frame import Frame
from ..world.pose import Camera, Pose
from ..world.session import Session
from ..world.side_by_side.processes import deaf
from ..world.spatial.warp import View, warp
from .machine import Machine
from .quick_report import draw_curves, draw_sheet, goals, markdown, print_report
from .reports import keep_json, keep_text

CONTEXT, STEPS = 4, 16
STARTS = {"model, carried views": "warp", "model, frame before": "frame", "model, noise": "noise"}
PSNR_CAP = 60.0


@dataclass(frozen=True)
class HeldOutWalk:
    """A test walk with no collisions in it: frames 0 to CONTEXT - 1 are shown to the model, the rest it must dream."""

    number: int
    frames: tuple[Frame, ...]
    actions: tuple[Action, ...]


@dataclass
class Tally:
    """PSNR in dB by row and column; each entry is one frame's, capped at 60 dB; None where a column has no pixels."""

    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, truth: np.ndarray, shown: np.ndarray, seen: np.ndarray | None = None) -> None:
        columns = {"all": None} if seen is None else {"all": None, "covered": seen, "newly seen": ~seen}
        for column, mask in columns.items():
            if mask is None or mask.sum() >= 64:
                self.scores.setdefault(row, {}).setdefault(column, []).append(psnr(truth, shown, mask))

    def mean(self, row: str, column: str = "all") -> float:
        values = self.scores.get(row, {}).get(column, [])
        return float(np.mean(values)) if values else float("nan")


def psnr(truth: np.ndarray, shown: np.ndarray, mask: np.ndarray | None = None) -> float:
    """10 log10(255^2 / MSE) in dB, at most 60, over all pixels or those of mask (H, W)."""
    error = (truth.astype(np.float64) - shown) ** 2
    mean = error.mean() if mask is None else error[mask].mean()
    return float(min(PSNR_CAP, 10 * np.log10(255**2 / max(mean, 1e-9))))


def test_walk(number: int, steps: int = CONTEXT - 1 + STEPS, *, split: str = "test") -> HeldOutWalk:
    """The number-th test scene's walk: the first of its random walks in which no wall is met and which does not end
    at its context's last pose (a frozen frame would be the truth there). Settings are chosen on the split "dev"."""
    scene = make_scene(split, number)
    for attempt in range(200):
        rng = np.random.default_rng([scene_seed(split, number), attempt, 29])
        actions = random_walk(scene, rng, steps)
        poses = poses_of(scene, scene.spawn_pose, actions)
        reached = zip(poses, poses[1:], actions, strict=False)
        is_free = all(there.distance_to(here.moved(action.known_motion)) < 1e-6 for here, there, action in reached)
        last = poses[CONTEXT - 1]
        returns = any(pose.distance_to(last) < 0.05 and pose.angle_to(last) < 2 for pose in poses[CONTEXT + 3 :])
        if is_free and not returns:
            break
    views = [render(scene, pose, Camera()) for pose in poses]
    frames = [Frame(i, v.pixels, depth=v.depth, pose=p) for i, (v, p) in enumerate(zip(views, poses, strict=True))]
    return HeldOutWalk(number, tuple(frames), tuple(actions))


def seen_before(walk: HeldOutWalk, index: int) -> np.ndarray:
    """(H, W) bool: the pixels of a frame whose surface the context showed, by true depth; no model is involved."""
    views = [View(f.pixels, _depth(f), _pose(f)) for f in walk.frames[max(0, index - CONTEXT) : index]][::-1]
    return warp(views, _pose(walk.frames[index]), Camera()).covered


def _depth(frame: Frame) -> np.ndarray:
    assert frame.depth is not None, "scenes have depth"
    return frame.depth


def _pose(frame: Frame) -> Pose:
    assert frame.pose is not None, "every action here has a motion"
    return frame.pose


def observed(engine: Engine, walk: HeldOutWalk, frames: int, **options) -> Session:
    """A session that has been shown the walk's first `frames` frames."""
    session = engine.session(walk.frames[0], seed=walk.number, **options)
    for action, frame in zip(walk.actions[: frames - 1], walk.frames[1:frames], strict=True):
        session.observe(action, frame.pixels, frame.pose)
    return session


def run(
    engine: Engine,
    scenes: int,
    out: Path,
    *,
    cost: dict[str, float] | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict:
    """Measure everything on `scenes` test scenes; writes quick.json, quick.md and pictures into `out`; returns the
    report. cost: what `start_cost` measured."""
    walks = [test_walk(number) for number in range(scenes)]
    tick = _Ticker(progress, 3 * scenes)
    one, costs = one_step(engine, walks, tick)
    rollouts, sheets = free_rollouts(engine, walks, tick)
    slow = token_by_token(engine, walks, tick)
    report = {
        "machine": Machine.here().as_dict(),
        "weights": engine.checkpoint.digest,
        "scenes": scenes,
        "one_step": {row: {c: one.mean(row, c) for c in columns} for row, columns in one.scores.items()},
        "one_step_error": {
            row: float(np.std(columns["all"]) / np.sqrt(len(columns["all"]))) for row, columns in one.scores.items()
        },
        "rollout": {row: [float(x) for x in curve] for row, curve in rollouts.items()},
        "depth_abs_rel": costs["abs_rel"],
        "cost": costs["speed"] | slow | (cost or {}),
        "dida": asdict(engine.dida),
    }
    report["goals"] = goals(report)
    keep_json(out / "quick.json", report)
    keep_text(out / "quick.md", markdown(report))
    draw_sheet(sheets, out / "quick.png")
    draw_curves(report, out / "quick-rollout.png")
    return report


def one_step(engine: Engine, walks: list[HeldOutWalk], tick: Callable[[], None]) -> tuple[Tally, dict]:
    """One frame ahead of a true context, at four places of each walk, from every start, with true and wrong words."""
    tally, abs_rel, times = Tally(), [], []
    mean = np.mean([walk.frames[0].pixels for walk in walks], 0)
    for w, walk in enumerate(walks):
        others = walks[(w + 1) % len(walks)].actions
        sessions = {row: observed(engine, walk, CONTEXT, start=start) for row, start in STARTS.items()}
        for index in range(CONTEXT, CONTEXT + STEPS, 4):
            truth, action = walk.frames[index], walk.actions[index - 1]
            seen = seen_before(walk, index)
            wrong = other_action(action, others, index)
            add = lambda row, shown, truth=truth, seen=seen: tally.add(row, truth.pixels, shown, seen)  # noqa: E731
            add("copy-last", walk.frames[index - 1].pixels)
            add("mean picture", mean)
            tokens = engine.encode(truth.pixels)
            shown, depth = engine.show(tokens)
            add("tokenizer ceiling", shown)
            metres = _depth(truth)
            abs_rel.append(float((np.abs(depth - metres) / metres)[metres < FAR].mean()))
            add("truth", truth.pixels)
            for row, session in sessions.items():
                started = time.perf_counter()
                session.settle()  # the commit pass of the previous frame is part of a frame's cost
                add(row, peek(session, action).pixels)
                if row == "model, carried views":
                    times.append(time.perf_counter() - started)
                    _, known = session.plan(action).there
                    carried = known.pixels
                    add("warp alone, holes filled, own pixels", carried)
                    add("warp alone, holes filled", engine.show(engine.encode(carried))[0])
                    holes = np.where(known.covered[..., None], carried, np.uint8(128))
                    add("warp alone", engine.show(engine.encode(holes))[0])
                add(f"{row}, wrong words", peek(session, wrong).pixels)
                _show_true(session, walk, index, index + 4)
        for session in sessions.values():
            session.close()
        tick()
    times = sorted(times)
    speed = {"frame_ms_median": 1e3 * times[len(times) // 2], "frame_ms_p95": 1e3 * times[int(len(times) * 0.95)]}
    return tally, {"abs_rel": float(np.mean(abs_rel)), "speed": speed}


def free_rollouts(
    engine: Engine, walks: list[HeldOutWalk], tick: Callable[[], None]
) -> tuple[dict[str, np.ndarray], list]:
    """PSNR at each of 16 steps after 4 true frames, the mean over walks, and (truth, dream) pictures of a few."""
    curves: dict[str, list[list[float]]] = {}
    sheets: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
    for walk in walks:
        truth = [frame.pixels for frame in walk.frames[CONTEXT:]]
        rows = {"copy-last": [walk.frames[CONTEXT - 1].pixels] * STEPS}
        rows["tokenizer ceiling"] = [engine.show(engine.encode(pixels))[0] for pixels in truth]
        for row, options in (("model", {}), ("repeated warp alone, holes filled", {"decoder": "carry"})):
            session = observed(engine, walk, CONTEXT, **options)
            seen = session.memory  # memory of the true frames only: their holes stay open
            frames = [session.step(action) for action in walk.actions[CONTEXT - 1 :]]
            rows[row] = [frame.pixels for frame in frames]
            session.close()
        carried = [warp(seen.choose(_pose(frame)), _pose(frame), Camera()) for frame in frames]
        rows["repeated warp alone"] = [np.where(c.covered[..., None], c.pixels, np.uint8(128)) for c in carried]
        for row, shown in rows.items():
            curves.setdefault(row, []).append([psnr(a, b) for a, b in zip(truth, shown, strict=True)])
        if len(sheets) < 6:
            sheets.append((truth, rows["model"]))
        tick()
    return {row: np.mean(values, 0) for row, values in curves.items()}, sheets


def token_by_token(engine: Engine, walks: list[HeldOutWalk], tick: Callable[[], None]) -> dict[str, float]:
    """The same weights decoded both ways from the same context: mean time of the decoding passes, and PSNR. The
    mean, because where memory shows nearly all, DiDA has nothing to decode, and a median would be of those steps."""
    scores: dict[str, list[float]] = {"dida": [], "autoregressive": []}
    times: dict[str, list[float]] = {"dida": [], "autoregressive": []}
    for walk in walks:
        for decoder in scores:
            session = observed(engine, walk, CONTEXT, decoder=decoder)
            session.settle()
            frame = session.step(walk.actions[CONTEXT - 1])
            session.settle()
            scores[decoder].append(psnr(walk.frames[CONTEXT].pixels, frame.pixels))
            times[decoder].append(frame.timing.denoise_ms)
            session.close()
        tick()
    return {
        "dida_decode_ms": float(np.mean(times["dida"])),
        "token_by_token_decode_ms": float(np.mean(times["autoregressive"])),
        "dida_psnr": float(np.mean(scores["dida"])),
        "token_by_token_psnr": float(np.mean(scores["autoregressive"])),
    }


def _show_true(session: Session, walk: HeldOutWalk, first: int, last: int) -> None:
    for k in range(first, min(last, len(walk.frames))):
        session.observe(walk.actions[k - 1], walk.frames[k].pixels, walk.frames[k].pose)


def peek(session: Session, action: Action, *, decoder: str | None = None) -> Frame:
    """The frame that an action would lead to, without going there."""
    twin = session.fork()
    twin.decoder = decoder or twin.decoder
    frame = twin.step(action)
    twin.close()
    return frame


def other_action(action: Action, others: tuple[Action, ...], index: int) -> Action:
    """An action of another walk that means something else."""
    choices = [other for other in (*others[index:], *others) if other.motion != action.motion]
    return choices[0]


class _Ticker:
    def __init__(self, progress: Callable[[float], None] | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done / self.total)


def start_cost(weights: Path | None) -> dict[str, float]:
    """Seconds from starting a process to its first dreamt frame, and that process's peak memory in MB after 30 more."""
    command = [sys.executable, "-m", f"{__package__}.first_frame", *([str(weights)] if weights else [])]
    started = time.perf_counter()
    process: subprocess.Popen | None = None
    try:
        with deaf():
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        with process:
            said = process.stdout
            assert said is not None, "it was asked for"
            said.readline()
            seconds = time.perf_counter() - started
            peak_kb = int(said.readline())
    except BaseException:
        if process:
            process.kill()
        raise
    return {"first_frame_s": seconds, "memory_mb": peak_kb / 1024}


def main(weights: Path | None = None, scenes: int = 16, out: Path = Path("roam-out/bench")) -> dict:
    """Run, print and keep: what `roam bench quick` does."""
    from rich.console import Console

    from ..viewer.commands.bars import Bars
    from ..viewer.play.progress import waiting

    console = Console()
    console.print(str(Machine.here()))
    with waiting("opening the model, and measuring how long that takes"):
        engine = Engine.from_checkpoint(weights)
        cost = start_cost(weights)
    with Bars(console=console, transient=True) as bar:
        task = bar.add_task("walking", total=1.0)
        report = run(engine, scenes, out, cost=cost, progress=lambda share: bar.update(task, completed=share))
    print_report(report, console)
    console.print(f"pictures and figures: {out}")
    print(json.dumps({"bench": "quick", "goals": {name: goal["measured"] for name, goal in report["goals"].items()}}))
    return report
