"""How dreamt views differ from true ones as a distribution, and how well they join the seen parts next to them.

Pure functions over arrays. `traits` reduces the frames of a walk to a few numbers each, where nothing had been seen;
`measure` compares the traits of one row with those of the truth at the same poses. No measure needs the one true scene:
nobody can know it. Every ratio is of sums over frames, so that a bare wall does not divide nothing by nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache

import cv2
import numpy as np

from ...world.pose import Camera, Pose
from .recogniser import ABOVE, CELLS, CLASSES, GROUND, SIDE, STRUCTURE, THING, WIDTH, Recogniser, recognise

LEAST, MOST = 0.15, 0.85  # shares of unseen pixels between which a frame has a border worth judging
WHOLE = 0.8  # from here on a frame counts as entirely new
STRIP = 4  # pixels to each side of a border over which its jump is taken
BANDS, BESIDE = 8, 16  # of a picture's height; pixels: where colours are compared across a border, palette and horizon
PROJECTED = 64  # numbers that stand for the layout of a frame's features
PSNR_CAP, FLOOR = 60.0, 0.01  # dB; a relative error of depth that no walker would notice
LEAST_SIDE = 0.05  # of a band's pixels, on each side of a border, for its colours to be compared
NEAR_M, LEAST_PIXELS = 0.1, 64  # metres before a camera, and pixels, from which on depths of two views are compared
EVEN = 0.05  # share of the mean deviation, added to each: features that hardly vary must not count without bound
DRAWS, FOLDS, RIDGE = 500, 6, 1.0  # of the bootstrap; of the cross-validation; penalty of the classifier's weights


@dataclass(frozen=True)
class Traits:
    """What n frames of one row look like where nothing had been seen; the first axis of every array is the frame.

    scene, seed, index (n,) int64: the scene's number, the dream's seed, the frame's place in its walk. weight (n,): the
    share of the frame that was never seen. shares (n, 4): of CLASSES, within it; pieces (n,): how many connected areas
    of one class there are; doubt (n,): the recogniser's mean entropy in nats. features (n, WIDTH): mean bottleneck;
    layout (n, PROJECTED): bottleneck cell by cell, by a projection that keeps distances. edges (n, 2): mean gradient
    and Laplacian. seam (n, 2): jump of colour and of gradient across the border; fit (n,): distance of colours between
    the two sides; both NaN where there is no border to judge.
    """

    scene: np.ndarray
    seed: np.ndarray
    index: np.ndarray
    weight: np.ndarray
    shares: np.ndarray
    pieces: np.ndarray
    doubt: np.ndarray
    features: np.ndarray
    layout: np.ndarray
    edges: np.ndarray
    seam: np.ndarray
    fit: np.ndarray

    def where(self, mask: np.ndarray) -> Traits:
        return Traits(*(getattr(self, field.name)[mask] for field in fields(self)))


def joined(parts: Sequence[Traits]) -> Traits:
    """The frames of several walks."""
    return Traits(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Traits)))


def traits(
    pixels: np.ndarray,
    unseen: np.ndarray,
    index: Sequence[int],
    *,
    scene: int,
    seed: int = 0,
    network: Recogniser | None = None,
) -> Traits:
    """pixels (n, H, W, 3) uint8 of one walk; unseen (n, H, W) bool: where no true frame had shown anything, by the
    truth's geometry; index (n,): the frames' places in the walk; network: another recogniser than the one that judges.
    """
    n = len(pixels)
    classes, bottleneck, entropy = recognise(pixels, network)
    small, cells = _pooled(unseen, SIDE) > 0.5, _pooled(unseen, CELLS)
    counts = np.maximum(small.sum((1, 2)), 1)
    shares = np.stack([(small & (classes == k)).sum((1, 2)) / counts for k in range(len(CLASSES))], 1)
    features = (bottleneck * cells[..., None]).sum((1, 2)) / np.maximum(cells.sum((1, 2)), 1e-6)[:, None]
    layout = (bottleneck * (cells > 0.5)[..., None]).reshape(n, -1) @ _projection()
    across = np.full((n, 3), np.nan)
    for k in range(n):
        if LEAST <= unseen[k].mean() <= MOST:
            across[k] = _across(pixels[k], unseen[k])
    return Traits(
        scene=np.full(n, scene),
        seed=np.full(n, seed),
        index=np.asarray(index, np.int64),
        weight=unseen.mean((1, 2)),
        shares=shares,
        pieces=np.array([_pieces(c, m) for c, m in zip(classes, small, strict=True)], float),
        doubt=(small * entropy).sum((1, 2)) / counts,
        features=features,
        layout=layout,
        edges=np.array([edges(p, m) for p, m in zip(pixels, unseen, strict=True)]).reshape(n, 2),
        seam=across[:, :2],
        fit=across[:, 2],
    )


def measure(dream: Traits, truth: Traits, *, least: float = WHOLE) -> dict[str, float | None]:
    """Every measure of a row, for the same scenes and frames as the truth's; None where the walks do not allow it.

    The look of dreams is measured on frames that are almost entirely new, or by `least` of their share; joining, on
    those that have a border.
    """
    ours, true = whole(dream, least), whole(truth, least)
    if not len(true.scene):
        return {"seam": seam(dream, truth), "fit": fit(dream, truth)}
    return {
        "sharpness": sharpness(ours, true),
        "detail": sharpness(ours, true, 1),
        **{name: share_over(ours, true, k) for name, k in KINDS.items()},
        "pieces": _ratio(ours.pieces.sum(), true.pieces.sum(), ours, true),
        "doubt": _ratio(ours.weight @ ours.doubt, true.weight @ true.doubt, ours, true),
        "kid": kid(ours, true, draws=0)[0],
        "auc": auc(ours, true),
        "diversity": diversity(ours, true),
        "seam": seam(dream, truth),
        "fit": fit(dream, truth),
    }


def _pieces(classes: np.ndarray, mask: np.ndarray) -> int:
    """Connected areas of one class (h, w) within a mask: a real place has few of them, brush strokes have many."""
    return sum(cv2.connectedComponents((mask & (classes == k)).astype(np.uint8))[0] - 1 for k in range(len(CLASSES)))


def whole(rows: Traits, least: float = WHOLE) -> Traits:
    """The frames that are new almost as a whole, or by at least such a share."""
    return rows.where(rows.weight >= least)


KINDS = {"things": THING, "structure": STRUCTURE, "ground": GROUND, "above": ABOVE}


def share_over(dream: Traits, truth: Traits, kind: int) -> float | None:
    """The share of a class in the dream, over its share in the truth."""
    return _ratio(dream.weight @ dream.shares[:, kind], truth.weight @ truth.shares[:, kind], dream, truth)


def sharpness(dream: Traits, truth: Traits, which: int = 0) -> float | None:
    """The mean gradient (which 0) or Laplacian (1) over the truth's: blur is under 1, noise is over it."""
    return _ratio(dream.weight @ dream.edges[:, which], truth.weight @ truth.edges[:, which], dream, truth)


def seam(dream: Traits, truth: Traits) -> float | None:
    """The jump across the border of what was seen, over the truth's at the same place: colour and gradient, halves."""
    held = np.isfinite(dream.fit)
    if not held.any():
        return None
    true = truth.where(np.isfinite(truth.fit))
    parts = dream.seam[held].mean(0) / np.maximum(true.seam.mean(0), 1e-9)
    return float(parts.mean())


def fit(dream: Traits, truth: Traits) -> float | None:
    """Whether palette and horizon continue across the border: the distance between the colours of its two sides, band
    by band of height, over the same in the truth."""
    held = np.isfinite(dream.fit)
    if not held.any():
        return None
    return float(dream.fit[held].mean() / max(truth.fit[np.isfinite(truth.fit)].mean(), 1e-9))


def diversity(dream: Traits, truth: Traits) -> float | None:
    """How far apart two dreams of one place are, over how far apart the same frames of two true scenes of a family are.

    Families take turns by the scene's number. Features are compared cell by cell. None for one seed.
    """
    between = []
    for (_, _), rows in _groups(dream, lambda t: (t.scene, t.index)):
        between += _distances(rows)
    places = []
    once = truth.where(truth.seed == truth.seed.min())
    for (_, _), rows in _groups(once, lambda t: (t.scene % 2, t.index)):
        places += _distances(rows)
    if not places:  # of no family are there two scenes: then of any
        for _, rows in _groups(once, lambda t: (np.zeros_like(t.index), t.index)):
            places += _distances(rows)
    return float(np.mean(between) / np.mean(places)) if between and places else None


def kid(dream: Traits, truth: Traits, *, draws: int = DRAWS) -> tuple[float, float | None, float | None]:
    """Kernel distance of the features (Binkowski et al. 2018): unbiased MMD^2 with the kernel (x.y / d + 1)^3, and
    its 95 % bootstrap interval over scenes. Pairs within a scene are left out of all three terms, because dream and
    truth share it: the truth against itself is exactly 0."""
    kernel = _between(dream, truth)
    once = np.ones(len(kernel))
    value = _pairs(kernel, once)
    if len(kernel) < 3 or not draws:
        return value, None, None
    rng = np.random.default_rng(0)
    drawn = [
        _pairs(kernel, np.bincount(rng.integers(len(kernel), size=len(kernel)), minlength=len(kernel)))
        for _ in range(draws)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return value, float(low), float(high)


def kid_of_halves(truth: Traits) -> float | None:
    """The same between two halves of the true scenes: no dream needs to be below it. Numbers alternate families, so
    halves are by number // 2."""
    truth = whole(truth)
    first = truth.scene // 2 % 2 == 0
    scenes, x = _standardised(truth, truth)
    kernel = _by_scene(_kernel(x, x), scenes, scenes)
    side = np.array([first[truth.scene == s][0] for s in np.unique(truth.scene)])
    if min(side.sum(), (~side).sum()) < 2:
        return None
    inner = [_off_diagonal(kernel[np.ix_(part, part)]) for part in (side, ~side)]
    return float(sum(inner) - 2 * kernel[np.ix_(side, ~side)].mean())


def auc(dream: Traits, truth: Traits) -> float | None:
    """How well a logistic classifier of the features tells the row from the truth in scenes that it has not learnt
    from: the share of (dream, truth) pairs that it orders correctly, a tie being half. 0.5 is ideal; less is chance."""
    scenes = np.unique(truth.scene)
    if len(scenes) < 2:
        return None
    x = np.concatenate([_standardised(part, truth)[1] for part in (truth, dream)])
    y = np.concatenate([np.zeros(len(truth.scene)), np.ones(len(dream.scene))])
    fold_of = {scene: k for k, group in enumerate(_folds(scenes)) for scene in group}
    fold = np.array([fold_of.get(scene, 0) for scene in np.concatenate([truth.scene, dream.scene])])
    score = np.zeros(len(y))
    for k in np.unique(fold):
        score[fold == k] = x[fold == k] @ logistic(x[fold != k], y[fold != k])
    true, false = score[y == 1][:, None], score[y == 0][None]
    return max(0.5, float((true > false + 1e-9).mean() + 0.5 * (np.abs(true - false) <= 1e-9).mean()))


def logistic(x: np.ndarray, y: np.ndarray, *, steps: int = 12) -> np.ndarray:
    """Weights (D,) of a ridge logistic regression of y (n,) in {0, 1} on x (n, D), both sides counting alike; by
    Newton's method, without a bias, which no order depends on (it is fitted and dropped)."""
    weight = np.where(y == 1, 0.5 / max(y.sum(), 1), 0.5 / max((1 - y).sum(), 1)) * len(y)
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    ridge = RIDGE * np.diag([*np.full(x.shape[1] - 1, x.shape[1]), 1e-3]).astype(float) / 8
    w = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (weight * (p - y)) + ridge @ w
        curve = (x * (weight * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ x + ridge
        w = w - np.linalg.solve(curve, gradient)
    return w[:-1]


def edges(pixels: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The mean gradient and the mean absolute Laplacian of the grey picture within mask (H, W), off its border."""
    inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)
    if not inside.any():
        return 0.0, 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=0.125)
    laplacian = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    return float(np.hypot(x, y)[inside].mean()), float(laplacian[inside].mean())


def persistence(first: np.ndarray, again: np.ndarray) -> float:
    """PSNR in dB of own frames (n, H, W, 3) at the same poses a full turn later, each at most 60."""
    error = ((first.astype(np.float64) - again) ** 2).mean((1, 2, 3))
    return float(np.minimum(PSNR_CAP, 10 * np.log10(255**2 / np.maximum(error, 1e-9))).mean())


def reprojection(
    depth_a: np.ndarray, pose_a: Pose, depth_b: np.ndarray, pose_b: Pose, mask_b: np.ndarray
) -> float | None:
    """How much the depth of view b (H, W), where mask_b, disagrees with that of view a: the mean relative difference,
    each at most 1 and to the best of the pixels around, over points that lie in a's picture. None if too few do."""
    H, W = depth_b.shape
    camera = Camera(W, H)
    points = camera.rays[mask_b] * depth_b[mask_b][:, None]
    points = points @ (pose_a.rotation.T @ pose_b.rotation).T
    points = points + pose_a.rotation.T @ (np.asarray(pose_b.position) - np.asarray(pose_a.position))
    points = points[points[:, 2] > NEAR_M]
    u, v = (np.floor(place).astype(int) for place in camera.on_screen(points))
    inside = (u >= 0) & (u < W) & (v >= 0) & (v < H)
    if inside.sum() < LEAST_PIXELS:
        return None
    wanted, u, v = points[inside, 2], u[inside], v[inside]
    around = [(dv, du) for dv in (-1, 0, 1) for du in (-1, 0, 1)]  # at an edge half a pixel decides which surface it is
    found = [depth_a[np.clip(v + dv, 0, H - 1), np.clip(u + du, 0, W - 1)] for dv, du in around]
    return float(np.minimum(np.abs(np.stack(found) - wanted).min(0) / wanted, 1).mean())


def cleaned(unseen: np.ndarray) -> np.ndarray:
    """unseen (H, W) bool without specks: the pinholes that rounding leaves at the edges of surfaces."""
    kernel = np.ones((5, 5), np.uint8)
    return cv2.morphologyEx(unseen.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(bool)


def _across(pixels: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """Jump of colour and of gradient across the border of mask (H, W), and the distance of colours of its two sides."""
    colours = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2LAB).astype(np.float32)
    parts = []
    for axis in (0, 1):
        c, m = (colours, mask) if axis else (colours.swapaxes(0, 1), mask.T)
        parts.append(_jumps(np.ascontiguousarray(c), np.ascontiguousarray(m)))
    jumps = np.concatenate(parts)
    if len(jumps) < 8:
        return (np.nan,) * 3
    return (*jumps.mean(0), _apart(colours, mask))


def _jumps(colours: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(k, 2): jump of colour and gradient at each border between neighbours of a row, STRIP pixels to each side."""
    W = mask.shape[1]
    along = np.abs(np.diff(colours, axis=0, append=colours[-1:])).mean(-1)  # changes along the border are no jumps
    windows = np.lib.stride_tricks.sliding_window_view
    if W < 2 * STRIP:
        return np.zeros((0, 2))
    mean = windows(colours, STRIP, 1).mean(-1)  # (H, W - STRIP + 1, 3): of the STRIP pixels from here on
    rough = windows(along, STRIP, 1).mean(-1)
    pure = windows(mask, STRIP, 1)
    whole, none = np.asarray(pure.all(-1)), ~np.asarray(pure.any(-1))
    left, right = slice(0, W - 2 * STRIP + 1), slice(STRIP, W - STRIP + 1)
    border = (whole[:, left] & none[:, right]) | (none[:, left] & whole[:, right])
    step = np.abs(mean[:, left] - mean[:, right]).mean(-1)
    rough = np.abs(rough[:, left] - rough[:, right])
    return np.stack([step[border], rough[border]], 1)


def _apart(colours: np.ndarray, mask: np.ndarray) -> float:
    """The distance of colours between the two sides of the border, BESIDE pixels wide, band by band of height."""
    H = len(mask)
    wide = np.ones((2 * BESIDE + 1,) * 2, np.uint8)
    inner = mask & (cv2.dilate((~mask).astype(np.uint8), wide) > 0)
    outer = ~mask & (cv2.dilate(mask.astype(np.uint8), wide) > 0)
    distances = []
    for k in range(BANDS):
        rows = slice(k * H // BANDS, (k + 1) * H // BANDS)
        if min(inner[rows].mean(), outer[rows].mean()) > LEAST_SIDE:
            sides = [colours[rows][side[rows]].mean(0) for side in (inner, outer)]
            distances.append(np.linalg.norm(sides[0] - sides[1]))
    return float(np.mean(distances)) if distances else np.nan


def _ratio(ours: float, theirs: float, dream: Traits, truth: Traits) -> float | None:
    """The ratio of two sums, each divided by its own number of frames."""
    ours, theirs = ours / max(dream.weight.sum(), 1e-9), theirs / max(truth.weight.sum(), 1e-9)
    return float(ours / theirs) if theirs > 1e-6 else None


def _pooled(mask: np.ndarray, side: int) -> np.ndarray:
    n, H, W = mask.shape
    return mask.reshape(n, side, H // side, side, W // side).mean((2, 4), dtype=np.float32)


@cache
def _projection() -> np.ndarray:
    """(CELLS^2 WIDTH, PROJECTED) float32: random and fixed; keeps distances to a tenth (Johnson, Lindenstrauss)."""
    rng = np.random.default_rng(3)
    return rng.normal(0, PROJECTED**-0.5, (CELLS * CELLS * WIDTH, PROJECTED)).astype(np.float32)


def _groups(rows: Traits, key: Callable):
    """((a, b), frames) for every pair of values that `key` gives."""
    a, b = key(rows)
    for pair in np.unique(np.stack([a, b], 1), axis=0) if len(a) else ():
        mask = (a == pair[0]) & (b == pair[1])
        yield tuple(pair), rows.where(mask)


def _distances(rows: Traits) -> list[float]:
    """Of the layouts of every two frames, by the share of the frame that was never seen in both."""
    found = []
    for i in range(len(rows.layout)):
        for j in range(i):
            found.append(float(np.linalg.norm(rows.layout[i] - rows.layout[j]) / np.sqrt(rows.weight[i])))
    return found


def _standardised(rows: Traits, truth: Traits) -> tuple[np.ndarray, np.ndarray]:
    """The scenes' numbers; and the features minus the truth's mean, divided by its standard deviation."""
    true = truth.features.astype(np.float64)
    mean, deviation = true.mean(0), true.std(0)
    return rows.scene, (rows.features.astype(np.float64) - mean) / (deviation + EVEN * deviation.mean() + 1e-6)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _by_scene(kernel: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The mean of a kernel (n, m) over the frames of every two scenes."""
    scenes = np.unique(np.concatenate([a, b]))
    first, second = ((scenes[:, None] == part[None]).astype(float) for part in (a, b))
    first, second = (part / np.maximum(part.sum(1, keepdims=True), 1) for part in (first, second))
    return first @ kernel @ second.T


def _between(dream: Traits, truth: Traits) -> np.ndarray:
    """(S, S): k(x, x') + k(y, y') - k(x, y') - k(y, x') for every two scenes."""
    (a, x), (b, y) = _standardised(dream, truth), _standardised(truth, truth)
    mixed = _by_scene(_kernel(x, y), a, b)
    return _by_scene(_kernel(x, x), a, a) + _by_scene(_kernel(y, y), b, b) - mixed - mixed.T


def _pairs(kernel: np.ndarray, weights: np.ndarray) -> float:
    pairs = np.outer(weights, weights) * (1 - np.eye(len(kernel)))
    return float((pairs * kernel).sum() / pairs.sum()) if pairs.sum() else float("nan")


def _off_diagonal(kernel: np.ndarray) -> float:
    return _pairs(kernel, np.ones(len(kernel)))


def _folds(scenes: np.ndarray) -> list[np.ndarray]:
    """Neighbours stay together: numbers alternate families, and every fold should hold both."""
    pairs = np.unique(scenes // 2)
    count = min(FOLDS, len(pairs))
    if count < 2:
        return [scenes[:1], scenes[1:]]
    return [scenes[np.isin(scenes // 2, part)] for part in np.array_split(pairs, count)]
