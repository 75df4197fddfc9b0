"""`roam bench adaptation`: table 16 of the Emu3.5 report (arXiv 2510.26583) in miniature, from random weights, on a
CPU.

A small model learns our scenes token by token only, with the embedded vision tokenizer; then DiDA's adaptation teaches
it to denoise whole frames. The report has passes, seconds and quality per frame, of the same model before and after,
and comparisons: a frozen frame, the tokenizer's ceiling, block decoding without the adaptation, and the same model
trained token by token for as many further steps as the adaptation took. A stopped run continues with the part that was
stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..scenes.recorder import record
from ..world.adaptation.data import distilled_walks, recorded_walks, walk_sequences
from ..world.adaptation.samples import WalkLayout, load_sequences, save_sequences
from ..world.adaptation.train import AdaptRecipe, Learner, adapt
from ..world.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ..world.config import DidaConfig, LayoutConfig, ModelConfig
from ..world.engine import Engine
from ..world.tokens.vision import VisionTokenizer
from ..world.transformer.dida import MetricPath
from ..world.transformer.model import Transformer
from .consistency.metrics.fidelity import haarpsi, psnr
from .machine import Machine
from .quick import CONTEXT, HeldOutWalk, observed, test_walk
from .reports import keep_json, keep_picture, keep_text

STEPS = (1, 2, 4, 8, 16)
DREAMT = 4  # frames of each walk that are dreamt
LATER, BLOCK = "token by token, after the adaptation", "block decoding, not adapted"
LONGER = "token by token, trained as much longer"  # with what DiDA is compared
GOALS = {
    "DiDA in 4 steps less token by token trained as long, dB": -0.3,
    "DiDA over block decoding without the adaptation, 4 steps, dB": 1.0,
    "DiDA in 4 steps over a frozen frame, dB": 0.0,
    "token by token after the adaptation less before, dB": -0.3,
    "DiDA in 4 steps times faster than token by token": 5.0,
}


# the shift is that of training; the temperature was set once and never tuned
DIDA = DidaConfig(shift=3.0, step_temperature=0.5)


@dataclass(frozen=True)
class Proof:
    """What decides the outcome: training is counted in steps, so that the result is the same on a busy machine;
    distilled: walks that the model draws for its own adaptation; frames: of a training window."""

    walks: int = 480
    distilled: int = 96
    frames: int = 8
    ar_steps: int = 1200
    dida_steps: int = 800
    scenes: int = 24
    hidden_size: int = 192
    layers: int = 4
    distil_temperature: float = 0.5


def prove(
    folder: Path,
    proof: Proof,
    *,
    recordings: Path | None = None,
    show: Callable[[str, float], None] = lambda part, share: None,
) -> dict:
    """Train, adapt, measure; returns the report and writes it to `folder`/adaptation.json. recordings: a folder that
    `roam record` wrote; without one, walks are recorded into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    embedded = load_checkpoint()
    layout = WalkLayout(LayoutConfig(), embedded.vocabulary, frames=proof.frames)
    source = recordings or _recorded(folder / "recordings", proof, show)
    sequences, held_out = _sequences(folder, embedded, layout, source, proof)
    before = _trained(folder / "token-by-token", embedded, layout, sequences, held_out, proof, show)
    longer = _further(
        folder / "token-by-token-longer",
        before,
        layout,
        sequences,
        held_out,
        proof,
        0,
        lambda share: show("token by token, longer", share),
    )
    own = _distilled(folder, before, layout, source, proof, show)
    after = _further(
        folder / "dida", before, layout, [*sequences, *own], held_out, proof, 1, lambda share: show("adaptation", share)
    )
    walks = [test_walk(number, CONTEXT - 1 + DREAMT) for number in range(proof.scenes)]
    report = measure(before, longer, after, walks, DIDA, tick=lambda share: show("measuring", share))
    draw_sheet(report.pop("pictures"), walks, folder / "adaptation.png")
    report |= {
        "machine": Machine.here().as_dict(),
        "tokenizer": embedded.digest,
        "scenes": proof.scenes,
        "parameters": sum(p.numel() for p in after.model.parameters()),
        "goals": goals(report["rows"]),
        "steps": {"token by token": proof.ar_steps, "adaptation": proof.dida_steps},
    }
    keep_json(folder / "adaptation.json", report)
    return report


def measure(
    before: Checkpoint,
    longer: Checkpoint,
    after: Checkpoint,
    walks: list[HeldOutWalk],
    dida: DidaConfig,
    tick: Callable[[float], None] = lambda share: None,
) -> dict:
    """rows: decoder, steps, passes and seconds per frame, and the quality of frames dreamt from a true context,
    compared with the truth; pictures: (name, the last frame of each walk) of each row that dreams."""
    plans = [
        ("token by token", before, "autoregressive", 0),
        (LONGER, longer, "autoregressive", 0),
        (LATER, after, "autoregressive", 0),
        *((BLOCK, before, "dida", steps) for steps in STEPS),
        *(("DiDA", after, "dida", steps) for steps in STEPS),
    ]
    rows, sheet = [_frozen(walks), _ceiling(before, walks)], []
    for number, (name, checkpoint, decoder, steps) in enumerate(plans):
        engine = Engine(checkpoint, dida=replace(dida, steps=max(1, steps)))
        row, pictures = _measured(engine, walks, decoder)
        rows.append({"name": name, "steps": steps or None, **row})
        sheet.append((f"{name} {steps or ''}".strip(), pictures))
        tick((number + 1) / len(plans))
    return {"rows": rows, "pictures": sheet}


def _measured(engine: Engine, walks: list[HeldOutWalk], decoder: str) -> tuple[dict, list[np.ndarray]]:
    passes, seconds, scores, pictures = _Counter(engine), [], [], []
    for walk in walks:
        session = observed(engine, walk, CONTEXT, start="noise", decoder=decoder)
        session.settle()
        with passes:
            for k in range(CONTEXT, CONTEXT + DREAMT):
                began = time.perf_counter()
                frame = session.step(walk.actions[k - 1])
                session.settle()
                seconds.append(time.perf_counter() - began)
                scores.append(_scores(frame.pixels, walk.frames[k].pixels))
        pictures.append(frame.pixels)
        session.close()
    return {"passes": passes.count / len(seconds), "seconds": float(np.median(seconds)), **quality_of(scores)}, pictures


class _Counter:
    """Counts the passes through an engine's transformer while it is entered."""

    def __init__(self, engine: Engine):
        self.engine, self.count = engine, 0

    def __enter__(self) -> None:
        self._hook = self.engine.model.register_forward_pre_hook(lambda *_: self._add())

    def __exit__(self, *_) -> None:
        self._hook.remove()

    def _add(self) -> None:
        self.count += 1


def _scores(picture: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    noise, likeness = psnr(picture, truth), haarpsi(picture, truth)
    assert noise is not None and likeness is not None, "whole pictures have both"
    return noise, likeness


def quality_of(scores: list[tuple[float, float]]) -> dict[str, float]:
    """Means, with the PSNR of each walk, because frames of one walk are not independent samples."""
    values = np.array(scores)
    walks = values[:, 0].reshape(-1, DREAMT).mean(1)
    return {"psnr": float(values[:, 0].mean()), "walks": walks.tolist(), "haarpsi": float(values[:, 1].mean())}


def spread_of(walks: list[float]) -> float:
    """The standard error of a mean over walks."""
    return float(np.std(walks, ddof=1) / np.sqrt(len(walks))) if len(walks) > 1 else math.inf


def _frozen(walks: list[HeldOutWalk]) -> dict:
    scores = [
        _scores(walk.frames[CONTEXT - 1].pixels, frame.pixels)
        for walk in walks
        for frame in walk.frames[CONTEXT : CONTEXT + DREAMT]
    ]
    return {"name": "a frozen frame", "steps": None, "passes": 0.0, "seconds": 0.0, **quality_of(scores)}


def _ceiling(checkpoint: Checkpoint, walks: list[HeldOutWalk]) -> dict:
    scores = []
    for walk in walks:
        for frame in walk.frames[CONTEXT : CONTEXT + DREAMT]:
            with torch.inference_mode():
                shown = checkpoint.vision.decode(checkpoint.vision.encode(torch.from_numpy(frame.pixels)[None]))[0][0]
            scores.append(_scores(shown.numpy(), frame.pixels))
    return {
        "name": "the truth through the tokenizer",
        "steps": None,
        "passes": 0.0,
        "seconds": 0.0,
        **quality_of(scores),
    }


def goals(rows: list[dict]) -> dict[str, dict]:
    """Each goal with what was measured, its standard error over walks (paired), and whether the goal is met."""
    alone = {row["name"]: row for row in rows if row["name"] not in ("DiDA", BLOCK)}
    dida, block = ({row["steps"]: row for row in rows if row["name"] == name} for name in ("DiDA", BLOCK))
    plain, four = alone["token by token"], dida[4]
    pairs = ((four, alone[LONGER]), (four, block[4]), (four, rows[0]), (alone[LATER], plain))
    measured = [
        (one["psnr"] - other["psnr"], spread_of(np.subtract(one["walks"], other["walks"]))) for one, other in pairs
    ]
    measured.append((plain["seconds"] / four["seconds"], math.nan))
    return {
        name: {"measured": value, "error": error, "goal": GOALS[name], "met": value >= GOALS[name]}
        for name, (value, error) in zip(GOALS, measured, strict=True)
    }


def _recorded(folder: Path, proof: Proof, show) -> Path:
    for split, count in (("train", proof.walks), ("dev", 8)):
        record(folder, split, count, workers=1, progress=lambda done, wanted: show("recording", done / wanted))
    return folder


def _sequences(folder: Path, embedded: Checkpoint, layout: WalkLayout, source: Path, proof: Proof) -> tuple[list, list]:
    """Training and held-out walks as ids; made again when the tokenizer has changed."""
    parts = []
    for split, count in (("train", proof.walks), ("dev", 8)):
        path = folder / f"{split}-{embedded.digest}.safetensors"
        if not path.exists():
            save_sequences([*walk_sequences(recorded_walks(source, split, count), embedded, layout)], path)
        parts.append(load_sequences(path))
    train, held_out = parts
    return train, held_out


def _trained(
    folder: Path, embedded: Checkpoint, layout: WalkLayout, sequences: list, held_out: list, proof: Proof, show
) -> Checkpoint:
    """A model that has only ever learnt the next token."""
    recipe = AdaptRecipe(copies=0, peak=3e-3, max_steps=proof.ar_steps, max_seconds=math.inf, seed=1)
    torch.manual_seed(recipe.seed)
    heads = proof.hidden_size // 32
    config = ModelConfig(
        embedded.vocabulary.size,
        proof.hidden_size,
        3 * proof.hidden_size,
        proof.layers,
        heads,
        2 if heads % 2 == 0 else 1,
        32,
    )
    assert isinstance(embedded.vision, VisionTokenizer)
    learner = Learner(_begun(config), embedded.vocabulary, vision=embedded.vision)
    path = MetricPath(embedded.vision.codebook, DIDA)
    adapt(
        learner,
        sequences,
        held_out,
        layout,
        path,
        recipe,
        folder,
        progress=lambda share, row: show("token by token", share),
    )
    return _packed(folder, learner, embedded, proof)


def _further(
    folder: Path,
    before: Checkpoint,
    layout: WalkLayout,
    sequences: list,
    held_out: list,
    proof: Proof,
    copies: int,
    show: Callable[[float], None],
) -> Checkpoint:
    """`before` after the adaptation or, with copies=0, after as many further steps of next-token training at the
    same rates."""
    recipe = AdaptRecipe(copies=copies, peak=1.5e-3, max_steps=proof.dida_steps, max_seconds=math.inf, seed=2)
    model = Transformer(before.model.config)
    model.load_state_dict(before.model.state_dict())
    learner = Learner(model, before.vocabulary)
    path = MetricPath(before.vision.codebook, DIDA)
    adapt(learner, sequences, held_out, layout, path, recipe, folder, progress=lambda share, row: show(share))
    return _packed(folder, learner, before, proof)


def _distilled(folder: Path, before: Checkpoint, layout: WalkLayout, source: Path, proof: Proof, show) -> list:
    path = folder / "distilled.safetensors"
    if not path.exists():
        walks = [
            (pixels[: proof.frames], actions[: proof.frames - 1])
            for pixels, actions in recorded_walks(source, "train", proof.distilled)
        ]
        own = distilled_walks(
            Engine(before, dida=DIDA),
            walks,
            layout,
            temperature=proof.distil_temperature,
            progress=lambda share: show("drawing its own walks", share),
        )
        save_sequences(own, path)
    return load_sequences(path)


def _begun(config: ModelConfig) -> Transformer:
    """A transformer to train from nothing, scaled as the embedded model's was."""
    model = Transformer(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_(0.3)
            elif "embed_tokens" in name or "lm_head" in name:
                weight.normal_(std=1.0 if "embed" in name else 0.0)
    return model


def _packed(folder: Path, learner: Learner, like: Checkpoint, proof: Proof) -> Checkpoint:
    """The checkpoint as a user would load it: written and read, in the float16 that ships."""
    made = Checkpoint(learner.folded(), like.vision, like.text, like.vocabulary, LayoutConfig(), DIDA)
    save_checkpoint(made, folder / "checkpoint")
    return load_checkpoint(folder / "checkpoint")


def draw_sheet(rows: list[tuple[str, list[np.ndarray]]], walks: list[HeldOutWalk], path: Path, count: int = 6) -> None:
    """The last dreamt frame of a few walks: the truth above, then one row a method, named at its left."""
    import cv2

    strips = []
    for name, pictures in (("truth", [walk.frames[CONTEXT + DREAMT - 1].pixels for walk in walks]), *rows):
        label = np.full((128, 300, 3), 255, np.uint8)
        cv2.putText(label, name[:36], (6, 68), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        strips.append(np.concatenate([label, *pictures[:count]], 1))
    keep_picture(path, np.concatenate(strips, 0))


def table_of(report: dict) -> list[list[str]]:
    """The rows as text, for the terminal and for docs/adaptation.md."""
    plain, longer = (next(row for row in report["rows"] if row["name"] == name) for name in ("token by token", LONGER))
    lines = []
    for row in report["rows"]:
        is_dreamt = row["passes"] > 0
        apart = spread_of(np.subtract(row["walks"], longer["walks"]))
        lines.append(
            [
                row["name"],
                str(row["steps"] or ""),
                f"{row['passes']:.0f}" if is_dreamt else "",
                f"{row['seconds']:.3f}" if is_dreamt else "",
                f"{plain['seconds'] / row['seconds']:.1f}" if is_dreamt else "",
                f"{row['psnr']:.2f} ± {spread_of(row['walks']):.2f}",
                f"{row['haarpsi']:.3f}",
                "" if row is longer else f"{row['psnr'] - longer['psnr']:+.2f} ± {apart:.2f}",
            ]
        )
    return lines


COLUMNS = (
    "decoded",
    "steps",
    "passes a frame",
    "seconds a frame",
    "times faster",
    "PSNR, dB",
    "HaarPSI",
    "dB over token by token trained as long",
)


def main(out: Path, recordings: Path | None = None, proof: Proof | None = None) -> bool:
    """Run, print and keep: what `roam bench adaptation` does. Returns whether every goal is met."""
    from rich.console import Console
    from rich.table import Table

    from ..viewer.commands.bars import stage_bars

    console = Console(markup=False, emoji=False)
    console.print(str(Machine.here()))
    with stage_bars(console) as bars:
        show = lambda part, share: bars(part, share, {})  # noqa: E731
        report = prove(out, proof or Proof(), recordings=recordings, show=show)
    table = Table(*COLUMNS, title=f"{report['scenes']} test scenes, {DREAMT} frames each after {CONTEXT} true ones")
    for line in table_of(report):
        table.add_row(*line)
    console.print(table)
    for name, goal in report["goals"].items():
        spread = "" if math.isnan(goal["error"]) else f" ± {goal['error']:.2f}"
        met = "met   " if goal["met"] else "MISSED"
        console.print(f"{met}  {name}: {goal['measured']:.2f}{spread}, goal {goal['goal']:g}")
    keep_text(out / "adaptation.md", markdown_of(report))
    console.print(f"figures, table and pictures: {out}")
    print(json.dumps({"bench": "adaptation", "goals": {name: g["measured"] for name, g in report["goals"].items()}}))
    return all(goal["met"] for goal in report["goals"].values())


def markdown_of(report: dict) -> str:
    """The table for docs/adaptation.md."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *table_of(report)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
