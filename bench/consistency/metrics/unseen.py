"""T11: dreams of places that had not been seen. Each episode stores the traits of its frames, dreamt and true; the
measures are of all episodes of a model together, because a distribution is not a property of one walk.

Knows the measures of `bench/imagination`, and no model.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ....world.pose import Pose
from ...imagination.measures import FLOOR, Traits, cleaned, joined, measure, persistence, reprojection, traits
from ...imagination.recogniser import CLASSES, WIDTH
from ..models.adapters import Answer
from ..questions.truth import Truth
from ..results import EpisodeResult
from .definitions import Measured, balance, measured

VARIANTS = ("half turn left", "one turn and a half right", "out of sight", "far stroll")
GIVEN = ("truth", "tokenizer")  # rows that no seed can change: they have no diversity
LEAST = 0.02  # lower limit of a share of the imagination part, so that rows at zero can still be told apart
APART = 2  # frames between two views whose depths are compared
LEAST_NEW = 0.5  # share of a frame that must be unseen for its depth and persistence to count
_COLUMNS = (
    ("weight", 1),
    ("shares", len(CLASSES)),
    ("features", WIDTH),
    ("layout", 64),
    ("edges", 2),
    ("seam", 2),
    ("fit", 1),
)


def unseen_of(truth: Truth, answers: Sequence[Answer]) -> tuple[dict[str, Measured], dict]:
    """Persistence and depth of one episode's dreamt places, and the traits of its scored frames, dreamt and true."""
    episode = truth.episode
    masks = {index: never_seen(truth, episode.poses[index]) for index in episode.scored}
    true = np.stack([truth.frame(index).pixels for index in episode.scored])
    ours = np.stack([answers[index - episode.num_context].pixels for index in episode.scored])
    unseen = np.stack(list(masks.values()))
    # for judging how dreams join, the seen part of a frame is the truth's own pixels
    pasted = np.where(unseen[..., None], ours, true)
    walk = 1000 * VARIANTS.index(episode.variant)
    index = [walk + len(episode.actions) - t for t in episode.scored]
    of = partial(traits, scene=episode.number, seed=episode.seed)
    same = truth.once("traits", episode.poses[episode.scored[0]], lambda: of(true, unseen, index))
    values = {"persistence": measured("persistence", _lasting(truth, answers, masks))}
    if any(misfit := _misfits(truth, answers, masks)):
        values["misfit"] = measured("misfit", misfit)
    return values, {"index": index, "dream": _packed(of(pasted, unseen, index)), "true": _packed(same)}


def never_seen(truth: Truth, pose: Pose) -> np.ndarray:
    """(H, W) bool: the pixels whose surface no shown frame showed, without the specks that rounding leaves."""
    return truth.once("never seen", pose, lambda: cleaned(~truth.seen(pose)))


def imagined(lines: Sequence[EpisodeResult]) -> dict[str, float]:
    """Every measure of one model over its T11 lines, and "imagination", a share in [0, 1]; empty without any."""
    asked = [line for line in lines if line.task == "T11"]
    held = [line for line in asked if not line.error]
    if not asked:
        return {}
    if not held:
        return {"imagination": 0.0}
    dream = joined([_unpacked(line, "dream") for line in held])
    true = joined([_unpacked(line, "true") for line in held])
    found = {_NAMES[name]: value for name, value in measure(dream, true).items() if name in _NAMES}
    if held[0].model.partition(":")[0] in GIVEN:
        found["diversity"] = None
    elif found.get("diversity") is None and len({line.seed for line in held}) > 1:
        found["diversity"] = 0.0
    for name in ("persistence", "misfit"):
        values = [line.values[name].value for line in held if name in line.values]
        found[name] = _mean([value for value in values if value is not None])
    told = {name: value for name, value in found.items() if value is not None}
    return told | {"imagination": part(told) * len(held) / len(asked)}


_NAMES = {
    "sharpness": "unseen_sharpness",
    "things": "unseen_things",
    "structure": "unseen_structure",
    "auc": "auc",
    "kid": "kid",
    "diversity": "diversity",
    "seam": "seam",
    "fit": "fit",
}


def part(found: dict[str, float]) -> float:
    """The harmonic mean of two shares. The first: how little a classifier can tell. The second, itself a harmonic mean
    of two: how near sharpness, things and structure are to the truth's; and how well the dream joins what was seen and
    how different two dreams are. Each share is at least LEAST, and measures that were not taken are left out.

    A classifier counts as much as all amounts together: untrained weights are sharp, full of things and different with
    every seed, and look like nothing at all.
    """
    near: Callable[[float], float] = lambda ratio: min(ratio, 1 / ratio) if ratio > 0 else 0.0  # noqa: E731
    under: Callable[[float], float] = lambda ratio: min(1.0, 1 / max(ratio, 1e-9))  # noqa: E731
    told = {"auc": lambda x: 2 * (1 - x)}
    amounts = (
        {"unseen_sharpness": near, "unseen_things": near, "unseen_structure": near},
        {"diversity": lambda x: min(1.0, x), "seam": under, "fit": under},
    )
    halves = [[_share(found, told)], [_share(found, rules) for rules in amounts]]
    held = [[share for share in half if share is not None] for half in halves]
    return balance([balance(half) for half in held if half] or [LEAST])


def _share(found: dict[str, float], rules: dict[str, Callable[[float], float]]) -> float | None:
    """The harmonic mean of the shares that the rules make of the available measures, each at least LEAST; None
    without."""
    shares = [max(LEAST, rule(found[name])) for name, rule in rules.items() if name in found]
    return balance(shares) if shares else None


def _lasting(truth: Truth, answers: Sequence[Answer], masks: dict[int, np.ndarray]) -> list[float]:
    """PSNR of own frames whenever exactly the same look comes again."""
    episode = truth.episode
    found: list[float] = []
    first: dict[tuple, np.ndarray] = {}
    for index in episode.scored:
        pose = episode.poses[index]
        place = (*np.round(pose.position, 3), *np.round(np.asarray(pose.rotation).ravel(), 3) + 0.0)
        own = answers[index - episode.num_context].pixels
        if place in first and masks[index].mean() >= LEAST_NEW:
            found.append(persistence(first[place][None], own[None]))
        first.setdefault(place, own)
    return found


def _misfits(truth: Truth, answers: Sequence[Answer], masks: dict[int, np.ndarray]) -> list[float]:
    """How much own depths of new places disagree between near frames, over the truth's own disagreement."""
    episode, found = truth.episode, []
    for index, mask in masks.items():
        before, shown = index - APART, episode.num_context
        if before < shown or mask.mean() < LEAST_NEW:
            continue
        poses = episode.poses[before], episode.poses[index]
        own, other = answers[before - shown].depth, answers[index - shown].depth
        if own is None or other is None:
            continue
        ours = reprojection(own, poses[0], other, poses[1], mask)
        theirs = reprojection(truth.frame(before).depth, poses[0], truth.frame(index).depth, poses[1], mask)
        if ours is not None and theirs is not None:
            found.append(max(ours, FLOOR) / max(theirs, FLOOR))
    return found


def _packed(rows: Traits) -> str:
    """The traits of an episode's frames in half precision, as text."""
    parts = [getattr(rows, name).reshape(len(rows.weight), size) for name, size in _COLUMNS]
    return base64.b64encode(np.concatenate(parts, 1).astype("<f2").tobytes()).decode()


def _unpacked(line: EpisodeResult, name: str) -> Traits:
    n = len(line.extra["index"])
    held = np.frombuffer(base64.b64decode(line.extra[name]), "<f2").reshape(n, -1).astype(np.float64)
    ends = np.cumsum([size for _, size in _COLUMNS])
    parts = dict(zip([name for name, _ in _COLUMNS], np.split(held, ends[:-1], axis=1), strict=True))
    parts |= {name: parts[name][:, 0] for name in ("weight", "fit")}
    parts |= dict.fromkeys(("pieces", "doubt"), np.full(n, np.nan))  # are no part of T11
    return Traits(
        scene=np.full(n, line.scene), seed=np.full(n, line.seed), index=np.asarray(line.extra["index"]), **parts
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
