"""Pictures of a run: curves over gaps and time, truth above dream, commanded and recovered paths from above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...reports import keep_figure, keep_picture
from ..models.adapters import Answer
from ..questions.episode import Episode
from ..questions.truth import Truth
from ..results import EpisodeResult
from .summary import curve_over_gaps, curve_over_time

MOST_COLUMNS = 12


def draw_gaps(lines: Sequence[EpisodeResult], models: Sequence[str], path: Path) -> bool:
    """PSNR on seen pixels and memory gain of T6 against the gap. False, and no file, where there is nothing to draw."""
    figure, axes = _axes(("psnr", "PSNR at commanded pose (dB)"), ("memory_gain", "memory gain, gated (dB)"))
    for name, axis in axes.items():
        for model in models:
            if points := curve_over_gaps(lines, model, name):
                gaps, means = [gap for gap, _ in points], [i.mean for _, i in points]
                low = [i.mean if i.low is None else i.low for _, i in points]
                high = [i.mean if i.high is None else i.high for _, i in points]
                axis.plot(gaps, means, marker="o", label=model)
                axis.fill_between(gaps, low, high, alpha=0.12)
        axis.set_xscale("log", base=2)
        axis.set_xlabel("frames of other views before the revisit")
    return _save(figure, axes, path)


def draw_drift(lines: Sequence[EpisodeResult], models: Sequence[str], path: Path) -> bool:
    """PSNR on all pixels and share of registered frames of T9 against the frame."""
    figure, axes = _axes(("psnr_all", "PSNR, all pixels (dB)"), ("registered", "share registered"))
    for name, axis in axes.items():
        for model in models:
            if points := curve_over_time(lines, model, name):
                axis.plot(
                    [x for x, _, _ in points],
                    [y for _, y, _ in points],
                    marker=".",
                    label=f"{model} (n {points[0][2]})",
                )
        axis.set_xlabel("frame of the walk")
    return _save(figure, axes, path)


def contact_sheet(truth: Truth, answers: Sequence[Answer], name: str = "dream") -> np.ndarray:
    """Truth above dream, named, with the frame's number of all that were asked for; (height, width, 3) uint8. Up to
    MOST_COLUMNS scored frames, evenly chosen."""
    scored = np.array(truth.episode.scored)
    chosen = scored[np.linspace(0, len(scored) - 1, min(MOST_COLUMNS, len(scored))).astype(int)]
    above = [truth.frame(int(t)).pixels for t in chosen]
    below = [answers[int(t) - truth.episode.num_context].pixels for t in chosen]
    columns = [
        np.vstack([_label(f"{t - truth.episode.num_context + 1}", 14, a.shape[1] + 4), _framed(a), _framed(b)])
        for t, a, b in zip(chosen, above, below, strict=True)
    ]
    height = above[0].shape[0] + 4
    names = [np.rot90(_label(text, 18, height)) for text in ("truth", name[:18])]
    return np.hstack([np.vstack([np.full((14, 18, 3), 255, np.uint8), *names]), *columns])


def _framed(picture: np.ndarray) -> np.ndarray:
    return np.pad(picture, ((2, 2), (2, 2), (0, 0)), constant_values=255)


def _label(text: str, height: int, width: int) -> np.ndarray:
    """A white strip with small grey words in its middle, (height, width, 3) uint8."""
    strip = np.full((height, width, 3), 255, np.uint8)
    (w, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    where = ((width - w) // 2, height - 4)
    return cv2.putText(strip, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (90, 90, 90), 1, cv2.LINE_AA)


def path_from_above(line: EpisodeResult, episode: Episode, *, side: int = 260) -> np.ndarray:
    """Commanded path grey, recovered poses red with a stroke where they look, a cross at a commanded pose not found."""
    wanted = [episode.poses[t] for t in line.scored]
    points = np.array([p.position[:2] for p in episode.poses])
    found = [np.array(f[:2]) for f in line.extra.get("found", ()) if f]
    low, high = np.min([points.min(0), *found], axis=0) - 0.4, np.max([points.max(0), *found], axis=0) + 0.4
    scale = side / max(high - low)
    picture = np.full((side, side, 3), 255, np.uint8)

    def pixel(xy) -> tuple[int, int]:
        x, y = (np.asarray(xy) - low) * scale
        return int(x), int(side - 1 - y)

    cv2.polylines(picture, [np.array([pixel(p) for p in points])], False, (170, 170, 170), 2, cv2.LINE_AA)
    for pose in wanted:
        cv2.circle(picture, pixel(pose.position[:2]), 3, (120, 120, 120), -1, cv2.LINE_AA)
    for pose, place in zip(wanted, line.extra.get("found", ()), strict=False):
        if place is None:
            cv2.drawMarker(picture, pixel(pose.position[:2]), (0, 0, 0), cv2.MARKER_TILTED_CROSS, 8, 1, cv2.LINE_AA)
            continue
        at, yaw = np.array(place[:2]), np.radians(place[3])
        ahead = at + 0.25 * np.array([np.cos(yaw), np.sin(yaw)])
        cv2.line(picture, pixel(at), pixel(ahead), (220, 60, 40), 1, cv2.LINE_AA)
        cv2.circle(picture, pixel(at), 2, (220, 60, 40), -1, cv2.LINE_AA)
    return picture


def write_picture(path: Path, picture: np.ndarray) -> None:
    keep_picture(path, picture, [cv2.IMWRITE_JPEG_QUALITY, 88] if path.suffix == ".jpg" else [])


def _axes(*names: tuple[str, str]):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(names), figsize=(11, 3.6))
    for axis, (_, label) in zip(axes, names, strict=True):
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    return figure, dict(zip([name for name, _ in names], axes, strict=True))


def _save(figure, axes: dict, path: Path) -> bool:
    from matplotlib import pyplot

    is_drawn = any(axis.lines for axis in axes.values())
    if is_drawn:
        handles = max((axis.get_legend_handles_labels() for axis in axes.values()), key=lambda found: len(found[0]))
        figure.legend(*handles, loc="lower center", ncol=4, fontsize=7)
        figure.tight_layout(rect=(0, 0.16, 1, 1))
        keep_figure(path, figure)
    pyplot.close(figure)
    return is_drawn
