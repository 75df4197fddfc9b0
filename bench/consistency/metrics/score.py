"""Scores one episode's answers: every metric of definitions.py, from the pictures alone. Knows no model and no
files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....scenes.render import FAR
from ....world.pose import Pose
from ..models.adapters import Answer
from ..questions.truth import Truth
from .definitions import Measured, measured
from .fidelity import grey, haarpsi, psnr, sharpness, ssim
from .identity import is_own
from .objects import sight
from .registration import Found, register
from .revisits import gain, is_near
from .stability import LAG, excess, motion_ratio
from .steering import components_right, kind_of, macro
from .unseen import unseen_of

Values = dict[str, Measured]
BARE = 30.0  # grey levels squared: a picture whose Laplacian varies less is a bare wall
REACH = (1.0, 20.0)  # metres and degrees from the command within which a recovered pose is accepted


@dataclass(frozen=True)
class Looks:
    """An episode's pictures, true ones first, and the pose that each scored one was found at."""

    truth: Truth
    answers: Sequence[Answer]
    found: dict[int, Found]

    def pixels(self, index: int) -> np.ndarray:
        shown = self.truth.episode.num_context
        return self.truth.frame(index).pixels if index < shown else self.answers[index - shown].pixels

    def pose(self, index: int) -> Pose | None:
        """Where frame `index` was taken from: known for a shown one, recovered or None for an answer."""
        if index < self.truth.episode.num_context:
            return self.truth.episode.poses[index]
        return self.found[index].pose if index in self.found else None


def score(truth: Truth, answers: Sequence[Answer], *, seconds: Sequence[float] = ()) -> tuple[Values, dict]:
    """All metrics of an episode's answers, one for each command, and what plots need: the poses found, and how."""
    if truth.episode.task == "T11":  # nobody can know what is there: nothing is compared with the one true scene
        values, extra = unseen_of(truth, answers)
        return values | _pace(seconds), extra
    looks = Looks(truth, answers, find_poses(truth, answers))
    values = {**fidelity_of(looks), **steering_of(looks), **world_of(looks), **stability_of(looks), **depth_of(looks)}
    poses = [
        None if f.pose is None else [*f.pose.position, f.pose.yaw_deg, f.pose.pitch_deg] for f in looks.found.values()
    ]
    return values | _pace(seconds), {"found": poses, "how": [f.how for f in looks.found.values()]}


def _pace(seconds: Sequence[float]) -> Values:
    if not seconds:
        return {}
    return {"step_seconds": Measured(float(np.median(seconds)), float(np.median(seconds)), len(seconds), 0)}


def find_poses(truth: Truth, answers: Sequence[Answer]) -> dict[int, Found]:
    """The recovered pose of every scored frame: near the commanded one, or near where the frame before was found."""
    episode, found = truth.episode, {}
    last = episode.poses[episode.num_context - 1]
    for index in episode.scored:
        guesses = list(dict.fromkeys([episode.poses[index], last]))
        found[index] = register(answers[index - episode.num_context].pixels, truth, guesses)
        last = found[index].pose or last
    return found


def fidelity_of(looks: Looks) -> Values:
    """Pictures compared with the truth at the commanded pose and at the recovered one, on pixels that had been seen.

    The recovered pose separates a wrong world from a wrong step. Beyond REACH it is not accepted: a frozen picture is
    the right world too, seen from elsewhere.
    """
    columns: dict[str, list[float | None]] = {}
    asked: dict[str, list[bool]] = {}

    def note(name: str, value: float | None, was_asked: bool) -> None:
        columns.setdefault(name, []).append(value)
        asked.setdefault(name, []).append(was_asked)

    for index in looks.truth.episode.scored:
        picture, commanded, recovered = looks.pixels(index), looks.truth.episode.poses[index], looks.pose(index)
        view, seen = looks.truth.at(commanded), looks.truth.seen(commanded)
        has_seen = psnr(picture, view.pixels, seen) is not None
        for name, function in (("psnr", psnr), ("ssim", ssim), ("haarpsi", haarpsi)):
            note(name, function(picture, view.pixels, seen), has_seen)
            there = None
            if recovered is not None and is_near(recovered, commanded, REACH):
                there = function(picture, looks.truth.at(recovered).pixels, looks.truth.seen(recovered))
            note(f"{name}_recovered", there, has_seen)
        note("psnr_all", psnr(picture, view.pixels), True)
        things = seen & np.isin(view.ids, looks.truth.things)
        note("objects_psnr", psnr(picture, view.pixels, things), psnr(picture, view.pixels, things) is not None)
        note("registered", float(recovered is not None), True)
        note("position_error", None if recovered is None else recovered.distance_to(commanded), True)
        note("angle_error", None if recovered is None else recovered.angle_to(commanded), True)
        luma, true = grey(picture).astype(float), grey(view.pixels).astype(float)
        has_detail = sharpness(view.pixels) > BARE  # in front of a bare wall both sides of the ratio are nothing
        note("sharpness", sharpness(picture) / sharpness(view.pixels) if has_detail else None, has_detail)
        note("brightness", luma.mean() / max(true.mean(), 1e-6), True)
        note("contrast", luma.std() / max(true.std(), 1e-6), True)
    return {name: measured(name, values, asked=asked[name]) for name, values in columns.items()}


def steering_of(looks: Looks) -> Values:
    """Strict and partial action accuracy over scored frames whose frame before is scored or shown."""
    episode = looks.truth.episode
    kinds, strict, partial = [], [], []
    for index in episode.scored:
        if index - 1 >= episode.num_context and index - 1 not in looks.found:
            continue
        motion = episode.actions[index - 1].known_motion
        right = components_right(looks.pose(index - 1), looks.pose(index), motion)
        kinds.append(kind_of(motion))
        strict.append(float(all(right)))
        partial.append(sum(right) / 4)
    return {
        name: Measured(macro(kinds, values), macro(kinds, values), len(values), 0, tuple(values))
        for name, values in (("action_strict", strict), ("action_partial", partial))
        if values
    }


def world_of(looks: Looks) -> Values:
    """Scene identity, the hidden thing, and memory gain."""
    truth, episode = looks.truth, looks.truth.episode
    strangers = [view.pixels for view in truth.strangers()]
    own, gains, gates, things, places = [], [], [], [], []
    for index in episode.scored:
        candidates = [pose for pose in (episode.poses[index], looks.pose(index)) if pose is not None]
        own.append(float(is_own(looks.pixels(index), [truth.at(pose).pixels for pose in candidates], strangers)))
        got = gain(index, looks.pose(index), looks.pixels, truth)
        gains.append(None if got is None else got[0])
        gates.append(None if got is None else float(got[1]))
        sighting = None if episode.target is None else sight(looks.pixels(index), truth, candidates)
        things.append(None if sighting is None else float(sighting.shows_thing))
        places.append(None if sighting is None else float(sighting.shows_place))
    columns: dict[str, Sequence[float | None]] = {"own_scene": own, "memory_gain": gains, "gate": gates}
    if episode.target is not None:
        columns |= {"false_object": things, "absence": places} if episode.is_absent else {"presence": things}
    return {
        name: measured(name, column, asked=[value is not None for value in column]) for name, column in columns.items()
    }


def stability_of(looks: Looks) -> Values:
    """Warp error, flicker and motion over the whole answer; drift over its scored frames."""
    truth, episode = looks.truth, looks.truth.episode
    first, last = episode.num_context, len(episode.poses) - 1
    columns = {
        "warp_error": excess(looks.pixels, truth, max(first - LAG, 0), last, lag=LAG),
        "flicker": excess(looks.pixels, truth, first - 1, last, lag=1),
        "motion_ratio": [motion_ratio(looks.pixels, truth, episode.scored)],
    }
    values = {name: measured(name, v, asked=[x is not None for x in v]) for name, v in columns.items() if v}
    return values | (drift_of(looks) if episode.task == "T9" else {})


def drift_of(looks: Looks) -> Values:
    """Slope of psnr_all per hundred frames, by least squares; and the horizon.

    The horizon is the first frame of the first of ten segments whose psnr on seen pixels is no better than that of the
    last true frame held still. A walk that never falls so low has its whole length, and a walk in which nothing had
    been seen has none.
    """
    truth, episode = looks.truth, looks.truth.episode
    last_true, indices = truth.frame(episode.num_context - 1).pixels, np.array(episode.scored)
    ours = np.array([psnr(looks.pixels(t), truth.frame(t).pixels) for t in indices])
    slope = float(np.polyfit(indices, ours, 1)[0] * 100) if len(indices) >= 6 else None
    return {
        "drift_slope": measured("drift_slope", [slope]),
        "horizon": measured("horizon", [_horizon(looks, last_true)]),
    }


def _horizon(looks: Looks, last_true: np.ndarray) -> float | None:
    first, indices = looks.truth.episode.num_context, looks.truth.episode.scored
    is_known = False
    for segment in np.array_split(indices, min(10, len(indices))):
        margins = [m for m in (_margin(looks, int(t), last_true) for t in segment) if m is not None]
        is_known |= bool(margins)
        if margins and np.mean(margins) <= 0:
            return float(segment[0] - first)
    return float(indices[-1] - first + 1) if is_known else None


def _margin(looks: Looks, index: int, last_true: np.ndarray) -> float | None:
    """By how many dB a frame is better than the last true frame held still, over pixels that had been seen."""
    view, seen = looks.truth.frame(index), looks.truth.seen(looks.truth.episode.poses[index])
    ours, held = psnr(looks.pixels(index), view.pixels, seen), psnr(last_true, view.pixels, seen)
    return None if ours is None or held is None else ours - held


def depth_of(looks: Looks) -> Values:
    """Depth where the model gives it, at the commanded pose: AbsRel and delta < 1.25 (Eigen et al. 2014)."""
    episode, errors, shares = looks.truth.episode, [], []
    for index in episode.scored:
        depth = looks.answers[index - episode.num_context].depth
        true = looks.truth.frame(index).depth
        surface = true < FAR / 2
        if depth is None or not surface.any():
            continue
        ours, wanted = np.maximum(depth[surface], 1e-3), true[surface]
        errors.append(float((np.abs(ours - wanted) / wanted).mean()))
        shares.append(float((np.maximum(ours / wanted, wanted / ours) < 1.25).mean()))
    return (
        {"depth_absrel": measured("depth_absrel", errors), "depth_delta1": measured("depth_delta1", shares)}
        if errors
        else {}
    )
