"""From which pose a dreamt picture looks into the true scene, if from any. The scale is known: none is fitted.

First SIFT features of the picture are matched to true renders, lifted by true depth, and solved with PnP and RANSAC;
where that finds nothing, poses near a guess are rendered and compared. What neither finds is unregistered, and said so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import minimize

from ...scenes.render import FAR, render
from ...scenes.scene import EYE_HEIGHT
from ...world.pose import MAX_PITCH_DEG, Camera, Pose
from .fidelity import grey
from .truth import Truth

LEAST_INLIERS = 10
LEAST_SHARE = 0.35  # of the matches that must agree on the pose
LEAST_ALIKE = 0.75  # correlation that render-and-compare must reach
TILT_DEG, LIFT = 6.0, 0.25  # a walker neither rolls nor leaves the ground: beyond these a solution is an accident
SMALL = 64  # pixels a side at which poses are compared
_SIFT = dict(nfeatures=500, contrastThreshold=0.02)


@dataclass(frozen=True)
class Found:
    """The recovered pose or None; how: "sift", "compare" or "none"; inliers: feature matches that agree."""

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
    features = features_of(picture)
    best = Found(None)
    for guess in guesses:
        found = _by_features(features, truth, guess)
        if found.inliers > best.inliers:
            best = found
        if best.inliers >= 3 * LEAST_INLIERS:
            break
    return best if best.pose is not None else _by_comparison(picture, truth, guesses)


def features_of(picture: np.ndarray) -> Features:
    keypoints, descriptors = cv2.SIFT_create(**_SIFT).detectAndCompute(grey(picture), None)
    return Features(np.array([k.pt for k in keypoints]).reshape(-1, 2), descriptors)


def _by_features(features: Features, truth: Truth, guess: Pose) -> Found:
    """SIFT (Lowe 2004, OpenCV), ratio test 0.8, true depth, solvePnPRansac (EPnP, 2 pixels), refined on its inliers."""
    view = truth.at(guess)
    true = features_of(view.pixels)
    pairs = _matches(features.descriptors, true.descriptors)
    if len(pairs) < LEAST_INLIERS:
        return Found(None)
    world, kept = _lift(true.points[pairs[:, 1]], view.depth, guess, truth.camera)
    pixels = features.points[pairs[kept, 0]]
    if len(pixels) < LEAST_INLIERS:
        return Found(None)
    solved, turn, shift, inliers = cv2.solvePnPRansac(
        world, pixels, _matrix(truth.camera), None, iterationsCount=300, reprojectionError=2.0, confidence=0.999
    )
    if not solved or inliers is None or len(inliers) < max(LEAST_INLIERS, LEAST_SHARE * len(pixels)):
        return Found(None)
    inliers = inliers[:, 0]
    turn, shift = cv2.solvePnPRefineLM(world[inliers], pixels[inliers], _matrix(truth.camera), None, turn, shift)
    pose = _walker_pose(cv2.Rodrigues(turn)[0], shift[:, 0])
    return Found(pose, "sift", len(inliers)) if pose else Found(None)


def _matches(ours: np.ndarray | None, true: np.ndarray | None) -> np.ndarray:
    """(m, 2) int: which feature of ours is which true one, each true one at most once."""
    if ours is None or true is None or len(true) < 2:
        return np.zeros((0, 2), int)
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(ours, true, k=2)
    good = sorted((a.distance, a.trainIdx, a.queryIdx) for a, b in found if a.distance < 0.8 * b.distance)
    best = {true_index: our_index for _, true_index, our_index in reversed(good)}
    return np.array([(ours_, true_) for true_, ours_ in best.items()], int).reshape(-1, 2)


def _lift(points: np.ndarray, depth: np.ndarray, pose: Pose, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """World coordinates of pixels by true depth, and which of them lie on a surface (the sky has no place)."""
    columns = np.clip(np.round(points[:, 0]).astype(int), 0, camera.width - 1)
    rows = np.clip(np.round(points[:, 1]).astype(int), 0, camera.height - 1)
    metres = depth[rows, columns].astype(np.float64)
    x = (points[:, 0] + 0.5 - camera.width / 2) / camera.focal
    y = (points[:, 1] + 0.5 - camera.height / 2) / camera.focal
    local = np.stack([x, y, np.ones_like(x)], 1) * metres[:, None]
    kept = metres < FAR / 2
    return (local @ pose.rotation.T + np.asarray(pose.position))[kept], kept


def _matrix(camera: Camera) -> np.ndarray:
    """OpenCV's camera matrix; its pixel centres have whole coordinates, ours lie half a pixel on."""
    f = camera.focal
    return np.array([[f, 0, camera.width / 2 - 0.5], [0, f, camera.height / 2 - 0.5], [0, 0, 1]])


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
    """Nelder-Mead over the walker's pose (scipy), on the correlation of blurred colour pictures of SMALL pixels."""
    wanted = _descriptor(picture)
    if wanted is None:
        return Found(None)
    camera = Camera(SMALL, SMALL, truth.camera.fov_deg)

    def unlike(moved, guess: Pose) -> float:
        view = render(truth.scene, _shifted(guess, moved), camera)
        return 1 - _alike(wanted, _descriptor(view.pixels))

    starts = sorted(guesses, key=lambda guess: unlike(np.zeros(4), guess))
    simplex = np.vstack([np.zeros(4), np.diag([1.0, 1.0, 1.0, 1.0])])
    best = minimize(
        unlike, np.zeros(4), args=(starts[0],), method="Nelder-Mead",
        options=dict(initial_simplex=simplex, maxfev=60, xatol=0.02, fatol=1e-4),
    )  # fmt: skip
    is_found = 1 - best.fun >= LEAST_ALIKE
    return Found(_shifted(starts[0], best.x), "compare") if is_found else Found(None)


def _shifted(pose: Pose, moved: np.ndarray) -> Pose:
    """A pose moved in units of 0.2 m forward and right, 5 degrees left and up; pitch stays a walker's."""
    yaw = math.radians(pose.yaw_deg)
    forward, right = 0.2 * moved[0], 0.2 * moved[1]
    x = pose.position[0] + forward * math.cos(yaw) + right * math.sin(yaw)
    y = pose.position[1] + forward * math.sin(yaw) - right * math.cos(yaw)
    pitch = max(-MAX_PITCH_DEG, min(MAX_PITCH_DEG, pose.pitch_deg + 5 * moved[3]))
    return Pose.at(x, y, pose.position[2], pose.yaw_deg + 5 * moved[2], pitch)


def _descriptor(picture: np.ndarray) -> np.ndarray | None:
    """Blurred colours and edges at SMALL pixels, each of mean 0 and length 1; None for a picture with nothing in it."""
    small = cv2.resize(picture, (SMALL, SMALL), interpolation=cv2.INTER_AREA).astype(np.float32)
    parts = []
    luma = small @ np.array([0.299, 0.587, 0.114], np.float32)
    for part in (cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1), small):
        part = cv2.GaussianBlur(part, (7, 7), 1.5)
        part = part - part.mean((0, 1))
        length = float(np.linalg.norm(part))
        if length < 1.0:
            return None
        parts.append((part / length).ravel())
    return np.concatenate(parts)


def _alike(a: np.ndarray, b: np.ndarray | None) -> float:
    """The mean correlation of the three parts, at most 1."""
    return -1.0 if b is None else float(a @ b) / 3
