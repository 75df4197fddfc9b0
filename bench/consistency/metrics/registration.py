"""From which pose a dreamt picture looks into the true scene, if from any. The scale is known and not fitted.

First SIFT features of the picture are matched to true renders, lifted by true depth, and solved with PnP and RANSAC; if
that finds nothing, true renders are turned until one is like the picture. Either pose is then refined by direct
alignment. If neither finds a pose, the picture is reported as unregistered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

from ....scenes.place import FAR, TrueView
from ....scenes.scene import EYE_HEIGHT
from ....world.pose import MAX_PITCH_DEG, Camera, Motion, Pose
from ..questions.truth import Truth
from ..questions.worlds import see
from .fidelity import grey, psnr

LEAST_INLIERS = 8
LEAST_SHARE = 0.35  # of the matches that must agree on the pose
SAME = 50.0  # dB to a true render above which a picture is that render
LEAST_ALIKE = 0.75  # correlation that render-and-compare must reach: wrong scenes of the dev split came to 0.63
TILT_DEG, LIFT = 6.0, 0.25  # a walker neither rolls nor leaves the ground: beyond these a solution is accidental
SMALL = 64  # pixels a side at which poses are compared
_CLEARER = 0.8  # how much nearer the best match must be than the second (Lowe 2004)
_AGREE = 0.3  # standard deviations of luma beyond which a pixel counts less than half
_DAMPING = 1e-6  # share of the trace, added to the diagonal: bare walls leave motions undetermined
_MOST_M, _MOST_DEG = 0.3, 8.0  # limits of one step of Gauss-Newton, which is right only close by
_LEAST_CONTRAST = 0.02  # least contrast of a blurred picture, per pixel of a side, for it not to be empty
_SIFT: dict[str, Any] = dict(nfeatures=500, contrastThreshold=0.01, edgeThreshold=20)


T = TypeVar("T")


class Renders(Protocol):
    """True views by their pose, as Truth has them."""

    camera: Camera

    def at(self, pose: Pose) -> TrueView: ...

    def once(self, name: Hashable, pose: Pose, make: Callable[[], T]) -> T: ...


@dataclass(frozen=True)
class Found:
    """The recovered pose or None; how: "same", "sift", "compare" or "none"; inliers: feature matches that agree."""

    pose: Pose | None
    how: str = "none"
    inliers: int = 0


@dataclass(frozen=True)
class Features:
    """SIFT keypoints, (n, 2) pixels, and their descriptors, (n, 128)."""

    points: np.ndarray
    descriptors: np.ndarray | None


def register(picture: np.ndarray, truth: Truth, guesses: Sequence[Pose]) -> Found:
    """Find the pose of a picture (H, W, 3) uint8 near one of the guesses, of which the first is the likeliest."""
    for guess in guesses:
        if (psnr(picture, truth.at(guess).pixels) or 0.0) > SAME:
            return Found(guess, "same")
    features = features_of(picture)
    best = Found(None)
    for guess in guesses:
        found = by_features(features, truth, guess)
        if found.inliers > best.inliers:
            best = found
        if best.inliers >= 3 * LEAST_INLIERS:
            break
    if best.pose is None:
        return _by_comparison(picture, truth, guesses)
    pose, _ = align(picture, truth, best.pose, _LAST)
    return Found(pose, "sift", best.inliers)


def features_of(picture: np.ndarray) -> Features:
    keypoints, descriptors = cv2.SIFT.create(**_SIFT).detectAndCompute(grey(picture), None)
    return Features(np.array([k.pt for k in keypoints]).reshape(-1, 2), descriptors)


def by_features(features: Features, truth: Renders, guess: Pose) -> Found:
    """The pose of a picture that shares features with the view from `guess`: SIFT (Lowe 2004, OpenCV), ratio test 0.8,
    true depth, solvePnPRansac (EPnP, 2 pixels), refined on its inliers."""
    view = truth.at(guess)
    true = truth.once("features", guess, lambda: features_of(view.pixels))
    pairs = _matches(features.descriptors, true.descriptors)
    if len(pairs) < LEAST_INLIERS:
        return Found(None)
    world, kept = _lift(true.points[pairs[:, 1]], view.depth, guess, truth.camera)
    pixels = features.points[pairs[kept, 0]]
    if len(pixels) < LEAST_INLIERS:
        return Found(None)
    solved, turn, shift, inliers = cv2.solvePnPRansac(
        world, pixels, truth.camera.matrix, None, iterationsCount=300, reprojectionError=2.0, confidence=0.999
    )
    if not solved or inliers is None or len(inliers) < max(LEAST_INLIERS, LEAST_SHARE * len(pixels)):
        return Found(None)
    inliers = inliers[:, 0]
    turn, shift = cv2.solvePnPRefineLM(world[inliers], pixels[inliers], truth.camera.matrix, None, turn, shift)
    pose = _walker_pose(cv2.Rodrigues(turn)[0], shift[:, 0])
    return Found(pose, "sift", len(inliers)) if pose else Found(None)


def _matches(ours: np.ndarray | None, true: np.ndarray | None) -> np.ndarray:
    """(m, 2) int: which feature of ours is which true one, each true one at most once."""
    if ours is None or true is None or len(true) < 2:
        return np.zeros((0, 2), int)
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(ours, true, k=2)
    good = sorted((a.distance, a.trainIdx, a.queryIdx) for a, b in found if a.distance < _CLEARER * b.distance)
    best = {true_index: our_index for _, true_index, our_index in reversed(good)}
    return np.array([(ours_, true_) for true_, ours_ in best.items()], int).reshape(-1, 2)


def _lift(points: np.ndarray, depth: np.ndarray, pose: Pose, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """World coordinates of pixels by true depth, and which of them lie on a surface (the sky has no place)."""
    columns = np.clip(np.round(points[:, 0]).astype(int), 0, camera.width - 1)
    rows = np.clip(np.round(points[:, 1]).astype(int), 0, camera.height - 1)
    metres = depth[rows, columns].astype(np.float64)
    local = camera.rays_at(points[:, 0], points[:, 1]) * metres[:, None]
    kept = metres < FAR / 2
    return (local @ pose.rotation.T + np.asarray(pose.position))[kept], kept


def _walker_pose(rotation: np.ndarray, shift: np.ndarray) -> Pose | None:
    """The pose of a world-to-camera transform, or None where no walker could stand like that."""
    columns = rotation.T
    x, y, z = -columns @ shift
    right, forward = columns[:, 0], columns[:, 2]
    roll_deg = math.degrees(math.asin(max(-1.0, min(1.0, right[2]))))
    pitch_deg = math.degrees(math.asin(max(-1.0, min(1.0, forward[2]))))
    if abs(roll_deg) > TILT_DEG or abs(z - EYE_HEIGHT) > LIFT or abs(pitch_deg) > MAX_PITCH_DEG:
        return None
    return Pose.at(x, y, z, math.degrees(math.atan2(right[0], -right[1])), pitch_deg)


def _by_comparison(picture: np.ndarray, truth: Truth, guesses: Sequence[Pose]) -> Found:
    """The guess, or the guess turned a little, whose render is most like the picture, aligned in three stages.

    Blur and codec damage, which remove features, do little harm here.
    """
    wanted = _descriptor(picture, _SCAN)
    if wanted is None:
        return Found(None)
    turned = [view for guess in guesses for view in truth.once("turned", guess, partial(_turned, truth, guess))]
    pose = max(turned, key=lambda view: float(wanted @ view[1]))[0]
    for stage in (_COARSE, _FINE):
        pose, alike = align(picture, truth, pose, stage)
    if alike < LEAST_ALIKE:
        return Found(None)
    return Found(align(picture, truth, pose, _LAST)[0], "compare")


def _turned(truth: Truth, guess: Pose) -> list[tuple[Pose, np.ndarray]]:
    """The guess turned a little to either side, and what the truth looks like from there."""
    poses = [guess.moved(Motion(yaw_deg=degrees)) for degrees in _TURNS]
    return [(pose, _described(_look(truth, pose, _SCAN), _SCAN)) for pose in poses]


@dataclass(frozen=True)
class _Stage:
    """side: pixels at which picture and renders are compared; sigma: their blur; steps: of Gauss-Newton, at most."""

    side: int
    sigma: float
    steps: int


_SCAN = _Stage(32, 1.5, 0)
_TURNS = (0, -4, 4, -8, 8, -12, 12)  # degrees: a turn is the largest disturbance of an alignment
_COARSE, _FINE, _LAST = _Stage(64, 3.0, 6), _Stage(64, 1.0, 4), _Stage(128, 1.0, 2)


def align(picture: np.ndarray, truth: Truth, pose: Pose, stage: _Stage) -> tuple[Pose, float]:
    """Direct alignment of renders with the picture. Returns the pose, and how like its render is, at most 1.

    Gauss-Newton on the walker's pose with the mean of both gradients (ESM, Benhimane and Malis 2004), the flow
    of each pixel being known from the render's depth; pixels that disagree much count little.
    """
    wanted, target = _descriptor(picture, stage), _normal(picture, stage)
    if wanted is None:
        return pose, -1.0
    view = _look(truth, pose, stage)
    alike = float(wanted @ _described(view, stage))
    for _ in range(stage.steps):
        move = _gauss_newton(target, view, pose, stage, truth.camera.fov_deg)
        there = pose.moved(Motion(*move))
        seen = _look(truth, there, stage)
        better = float(wanted @ _described(seen, stage))
        if better <= alike:
            break
        pose, view, alike = there, seen, better
    return pose, alike


def _gauss_newton(target: np.ndarray, view: TrueView, pose: Pose, stage: _Stage, fov_deg: float) -> np.ndarray:
    """By how much the view's pose should move to look like the target: metres forward and right, degrees left and
    up."""
    here = _normal(view.pixels, stage)
    rise = (target + here) / 2
    across, down = (cv2.Sobel(rise, cv2.CV_64F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    parts = [-(across * du + down * dv) for du, dv in _flows(view.depth, pose, fov_deg)]
    slopes, left = np.stack(parts, -1).reshape(-1, 4), (target - here).ravel()
    weights = 1 / (1 + (left / _AGREE) ** 2)
    square = (slopes * weights[:, None]).T @ slopes
    pull = (slopes * weights[:, None]).T @ left
    move = np.linalg.solve(square + _DAMPING * np.trace(square) * np.eye(4), pull)
    most = np.array([_MOST_M, _MOST_M, _MOST_DEG, _MOST_DEG])
    return (move * [1, 1, *[math.degrees(1)] * 2]).clip(-most, most)


def _flows(depth: np.ndarray, pose: Pose, fov_deg: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How pixels move (right, down) for a metre forward and right and a radian left and up of the camera."""
    camera = Camera(depth.shape[1], depth.shape[0], fov_deg)
    rays = camera.rays.astype(np.float64)
    points = rays * depth[..., None]
    yaw = math.radians(pose.yaw_deg)
    to_camera = pose.rotation.T
    for step in ((math.cos(yaw), math.sin(yaw), 0.0), (math.sin(yaw), -math.cos(yaw), 0.0)):
        yield _flow(np.broadcast_to(-to_camera @ np.array(step), points.shape), rays, depth, camera.focal)
    for axis in (to_camera @ np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])):
        yield _flow(-np.cross(axis, points), rays, depth, camera.focal)


def _flow(drift: np.ndarray, rays: np.ndarray, depth: np.ndarray, focal: float) -> tuple[np.ndarray, np.ndarray]:
    """Where points that drift so in camera axes go on the picture."""
    drift = drift / depth[..., None]
    across, down = (focal * (drift[..., k] - rays[..., k] * drift[..., 2]) for k in (0, 1))
    return across, down


def _look(truth: Truth, pose: Pose, stage: _Stage) -> TrueView:
    return see(truth.scene, pose, Camera(stage.side, stage.side, truth.camera.fov_deg))


def _described(view: TrueView, stage: _Stage) -> np.ndarray:
    described = _descriptor(view.pixels, stage)
    return np.zeros(5 * stage.side**2) if described is None else described


_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _normal(picture: np.ndarray, stage: _Stage) -> np.ndarray:
    """Blurred luma, of mean 0 and deviation 1, so that brightness and contrast do not matter."""
    soft = cv2.GaussianBlur(_sized(picture, stage) @ _LUMA, (0, 0), stage.sigma).astype(np.float64)
    return (soft - soft.mean()) / max(soft.std(), 1e-6)


def _sized(picture: np.ndarray, stage: _Stage) -> np.ndarray:
    small = picture.astype(np.float32)
    if picture.shape[0] == stage.side:
        return small
    return cv2.resize(small, (stage.side, stage.side), interpolation=cv2.INTER_AREA)


def _descriptor(picture: np.ndarray, stage: _Stage) -> np.ndarray | None:
    """Blurred colours and edges, of mean 0 and together of length 1; None for a picture with nothing in it."""
    small = _sized(picture, stage)
    luma = small @ _LUMA
    parts = []
    for part in (cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1), small):
        part = cv2.GaussianBlur(part, (0, 0), stage.sigma)
        part = part - part.mean((0, 1))
        length = float(np.linalg.norm(part))
        if length < _LEAST_CONTRAST * stage.side:
            return None
        parts.append(part.ravel() / length)
    return np.concatenate(parts) / math.sqrt(3)
