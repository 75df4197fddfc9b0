"""Every number of the benchmark: its unit, which way is better, and what a failure counts as. The only list of them.

A frame without a number is counted, never dropped: a result's `value` is the mean of what is defined, and its `ranked`
the mean with every failure at the metric's `worst`. Tables are ordered by `ranked`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """What a number of the benchmark is."""

    name: str
    unit: str
    better: str  # "high", "low" or "one": a ratio to the truth
    worst: float | None  # what a failure counts as; None: a missing number is no failure, the question did not apply
    tasks: tuple[str, ...]  # whose tables are ordered by it
    about: str  # one line

    def badness(self, value: float) -> float:
        """A number that grows as the metric gets worse."""
        return {"high": -value, "low": value, "one": abs(value - 1)}[self.better]


@dataclass(frozen=True)
class Measured:
    """One metric of one episode."""

    value: float | None  # mean over the frames where it is defined
    ranked: float | None  # mean with every failure at the metric's worst
    n: int  # frames where it is defined
    failed: int  # frames where it is not, and should be
    per_frame: tuple[float | None, ...] = ()  # in the order of the measured frames, None where undefined


_ALL = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10")
_RETURNS = ("T1", "T2", "T3", "T4", "T5", "T6")

METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "dB", "high", 0.0, (), "PSNR at the commanded pose, on what was seen"),
        Metric("ssim", "", "high", 0.0, (), "SSIM at the commanded pose, on what was seen"),
        Metric("haarpsi", "", "high", 0.0, _ALL, "HaarPSI at the commanded pose, on what was seen"),
        Metric("psnr_recovered", "dB", "high", 0.0, (), "PSNR at the recovered pose, on what was seen"),
        Metric("ssim_recovered", "", "high", 0.0, (), "SSIM at the recovered pose, on what was seen"),
        Metric("haarpsi_recovered", "", "high", 0.0, (), "HaarPSI at the recovered pose, on what was seen"),
        Metric("psnr_all", "dB", "high", 0.0, (), "PSNR at the commanded pose, on all pixels, guessed ones too"),
        Metric("registered", "share", "high", 0.0, (), "frames whose pose in the true scene was recovered"),
        Metric("position_error", "m", "low", 10.0, (), "distance of the recovered pose from the commanded one"),
        Metric("angle_error", "deg", "low", 180.0, (), "angle of the recovered pose to the commanded one"),
        Metric(
            "action_strict", "share", "high", 0.0, ("T8",), "steps right in every component; mean over kinds of action"
        ),
        Metric("action_partial", "share", "high", 0.0, (), "components that are right; mean over kinds of action"),
        Metric("own_scene", "share", "high", 0.0, (), "frames most like their own scene among 8 (chance 1/8)"),
        Metric("objects_psnr", "dB", "high", 0.0, (), "PSNR on the things that were seen, at the commanded pose"),
        Metric("presence", "share", "high", 0.0, ("T7",), "frames that show the hidden thing again, as it was"),
        Metric("false_object", "share", "low", 1.0, (), "frames that show the thing where there is none"),
        Metric("absence", "share", "high", 0.0, (), "frames that show the bare place, where there is no thing"),
        Metric(
            "memory_gain", "dB", "high", 0.0, (), "PSNR to what was there before, over PSNR to elsewhere; gated by pose"
        ),
        Metric("gate", "share", "high", 0.0, (), "revisits close enough to the commanded pose for a gain to count"),
        Metric(
            "warp_error",
            "of 255",
            "low",
            255.0,
            (),
            "difference to own frame 4 back, carried by true depth; over truth's",
        ),
        Metric("flicker", "of 255", "low", 255.0, (), "the same to the frame just before; over the truth's own"),
        Metric("motion_ratio", "ratio", "one", None, (), "picture change between frames, over the truth's"),
        Metric("sharpness", "ratio", "one", None, (), "Laplacian variance over the truth's"),
        Metric("brightness", "ratio", "one", None, (), "mean grey over the truth's"),
        Metric("contrast", "ratio", "one", None, (), "grey deviation over the truth's"),
        Metric("drift_slope", "dB/100 frames", "high", None, (), "slope of psnr_all over the walk"),
        Metric(
            "horizon",
            "frames",
            "high",
            None,
            ("T9",),
            "first segment in which psnr is under that of the last true frame",
        ),
        Metric("depth_absrel", "", "low", None, (), "|depth - true| / true, on surfaces"),
        Metric("depth_delta1", "share", "high", None, (), "pixels whose depth is within 1.25 times the truth"),
        Metric("imagination", "share", "high", 0.0, ("T11",), "how much what is dreamt is like true places; see T11"),
        Metric("unseen_sharpness", "ratio", "one", None, (), "gradient where nothing was seen, over the truth's"),
        Metric("unseen_things", "ratio", "one", None, (), "pixels of things where nothing was seen, over the truth's"),
        Metric("unseen_structure", "ratio", "one", None, (), "pixels of walls and houses there, over the truth's"),
        Metric("auc", "", "low", 1.0, (), "how well a classifier tells dreamt from true frames; 0.5 is not at all"),
        Metric("kid", "", "low", None, (), "kernel distance of the features of dreamt frames to those of true ones"),
        Metric("diversity", "ratio", "high", 0.0, (), "two dreams of a place apart, over two true places apart"),
        Metric("seam", "ratio", "one", None, (), "jump across the border of what was seen, over the truth's there"),
        Metric("fit", "ratio", "one", None, (), "colours beside that border apart, by height, over the truth's"),
        Metric("persistence", "dB", "high", None, (), "PSNR of own frames when a dreamt place is looked at again"),
        Metric("misfit", "ratio", "low", None, (), "own depths of a dreamt place apart, over the truth's"),
        Metric("step_seconds", "s", "low", None, (), "median time of one step"),
    )
}
HEADLINE = (
    "haarpsi",
    "psnr",
    "psnr_recovered",
    "registered",
    "position_error",
    "angle_error",
    "action_strict",
    "own_scene",
    "presence",
    "false_object",
    "absence",
    "memory_gain",
    "flicker",
    "sharpness",
    "imagination",
    "unseen_sharpness",
    "unseen_things",
    "unseen_structure",
    "auc",
    "kid",
    "diversity",
    "seam",
    "fit",
    "persistence",
    "misfit",
)


def measured(name: str, values: Sequence[float | None], *, asked: Sequence[bool] | None = None) -> Measured:
    """Summarise one metric over frames; `asked` says where the question applied, everywhere by default."""
    asked = [True] * len(values) if asked is None else asked
    defined = [value for value in values if value is not None]
    failed = sum(1 for value, wanted in zip(values, asked, strict=True) if value is None and wanted)
    worst = METRICS[name].worst
    total = defined + [worst] * failed if worst is not None else defined
    return Measured(_mean(defined), _mean(total), len(defined), failed, tuple(values))


def _mean(values: Sequence[float]) -> float | None:
    return float(sum(values) / len(values)) if values else None


def balance(parts: Sequence[float]) -> float:
    """The harmonic mean of shares in [0, 1]: 0 as soon as one is."""
    return 0.0 if min(parts) <= 0 else len(parts) / sum(1 / part for part in parts)
