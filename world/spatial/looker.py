"""Looks into a memory of views from any pose, without a step of a model: one eye or two, any camera, and quickly.

Like warp.py it draws the surfaces of remembered views by their depth and fetches colours backward. Unlike warp.py, it
draws all views into one picture at once, does work that every look would repeat only once (a view made `ready`), and
allocates little more than its result. Knows no tokens, no models and no steps.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from ..frame import Frame
from ..pose import Camera, Pose
from ..side_by_side import SideBySide
from ..sight import Gaze, LookError, Piece, Sight
from .eye import Scratch, Ways, draw_eye
from .holes import Picture
from .pieces import number_of, piece_of
from .ready import Ready, make_ready
from .view_memory import ViewMemory
from .warp import HERE, View

NUM_VIEWS = 6  # remembered views that a look draws at most, besides the newest frame
NEARBY_M = 1.0  # within this distance the newest frame is drawn before all others: the current view does not change
READY_BYTES = 16 << 20  # how many views are kept ready
BYTES_A_PIXEL = 38  # of a ready view, about
MAX_CHOICES = 256  # of views, that are kept for one memory
WIDEST_DEG = 170.0  # views are chosen for a field of view of at most this
ROUND_M, ROUND_TURN = 0.25, 0.1  # how far poses are rounded, in metres and of a quaternion, to choose views for them
MARGIN_DEG = 24.0  # the field of view of that choice is this much wider, because of the rounding
SAME_TURN = 1e-10  # how far the product of two quaternions may be from 1 where they are the same turn
_EYES = SideBySide(2)


class Looker:
    """Answers looks into memories of one camera, one at a time. Keeps the views that it drew last ready to be drawn
    again; its answers depend only on the memory, the frames and the gaze."""

    def __init__(self, camera: Camera):
        H, W = camera.height, camera.width
        self.camera = camera
        self._ready = Ready.of(max(2 * NUM_VIEWS, READY_BYTES // (BYTES_A_PIXEL * H * W)), H, W)
        self._slots: OrderedDict[int, int] = OrderedDict()  # by id(view), the view that was not drawn for longest first
        self._held: dict[int, View] = {}  # so that no other view gets its id
        self._chosen: tuple[ViewMemory, OrderedDict[tuple, list[View]]] | None = None
        self._scratch: tuple[Camera, list[Scratch]] | None = None  # one an eye
        self._frame: tuple[Frame, View] | None = None
        self._numbers: dict[int, tuple[int, View]] = {}  # of the memory that was asked for last, by id(view)
        self._lock = threading.Lock()

    def look(self, memory: ViewMemory, frames: Sequence[Frame], gaze: Gaze) -> Sight:
        """What memory shows from there; frames: those of the walk that are kept, the newest last. A look from a
        frame's own pose by its own camera is that frame."""
        if same := _frame_from(frames, gaze, self.camera):
            return Sight(gaze, frames[-1].index, same.pixels, _depth_of(same), np.zeros(same.pixels.shape[:2], bool))
        with self._lock:
            return self._drawn(memory, frames[-1], gaze)

    def numbers(self, memory: ViewMemory) -> dict[int, View]:
        """The views of a memory by their pieces' numbers, oldest first."""
        with self._lock:
            known, self._numbers = self._numbers, {}
            for _, view in memory.latest():
                self._numbers[id(view)] = known.get(id(view)) or (_number(view), view)
            return dict(self._numbers.values())

    def _drawn(self, memory: ViewMemory, frame: Frame, gaze: Gaze) -> Sight:
        views = self._views(memory, frame, gaze)
        slots = np.array([self._slot(view) for view in views], np.int64)
        camera, eyes = gaze.camera, gaze.eyes
        scratches, wide = self._scratches_for(camera, len(eyes)), camera.width * len(eyes)
        pixels = np.empty((camera.height, wide, 3), np.uint8)
        depth, unknown = np.empty((camera.height, wide), np.float32), np.empty((camera.height, wide), np.bool_)

        def draw(number: int) -> None:
            ways = Ways(slots, *_ways(views, eyes[number]), self.camera.focal, camera.focal)
            picture = Picture(pixels, depth, unknown, number * camera.width)
            draw_eye(ways, self._ready, scratches[number], picture)

        _EYES.map(draw, range(len(eyes)))
        return Sight(gaze, frame.index, pixels, depth, unknown)

    def _views(self, memory: ViewMemory, frame: Frame, gaze: Gaze) -> list[View]:
        """The views to draw, the one with priority first: the newest frame if the eye is near it, then those of
        memory."""
        views = self._choice(memory, gaze)
        if frame.pose is None or frame.pose.distance_to(gaze.pose) > NEARBY_M:
            return views
        if self._frame is None or self._frame[0] is not frame:
            self._frame = (frame, View(frame.pixels, _depth_of(frame), frame.pose))
        return [self._frame[1], *views]

    def _choice(self, memory: ViewMemory, gaze: Gaze) -> list[View]:
        """The views that show most from about there. The pose is rounded first, so that nearby looks share a choice,
        whichever came first."""
        if self._chosen is None or self._chosen[0] is not memory:
            self._chosen = (memory, OrderedDict())
        known, key = self._chosen[1], (_rounded(gaze.pose), gaze.camera)
        if key not in known:
            fov_deg = min(WIDEST_DEG, gaze.camera.fov_deg + MARGIN_DEG)
            wide = Camera(gaze.camera.width, gaze.camera.height, fov_deg)
            known[key] = memory.choose(_rounded(gaze.pose), NUM_VIEWS, camera=wide)
            if len(known) > MAX_CHOICES:
                known.popitem(last=False)
        return known[key]

    def _slot(self, view: View) -> int:
        """The slot in which a view is ready."""
        slot = self._slots.pop(id(view), None)
        if slot is None:
            slot = len(self._slots)
            if slot == len(self._ready.depth):
                old, slot = self._slots.popitem(last=False)
                del self._held[old]
            self._held[id(view)] = view
            fresh = np.ones(view.depth.shape, np.bool_) if view.fresh is None else view.fresh
            make_ready(slot, self._ready, np.ascontiguousarray(view.pixels), view.depth.astype(np.float32), fresh)
        self._slots[id(view)] = slot
        return slot

    def _scratches_for(self, camera: Camera, count: int) -> list[Scratch]:
        if self._scratch is None or self._scratch[0] != camera:
            self._scratch = (camera, [])
        scratches = self._scratch[1]
        scratches += [Scratch.of(camera) for _ in range(count - len(scratches))]
        return scratches


class Remembered:
    """A view into a dream: its memory and its frames as they were. Raises LookError if it has no poses."""

    def __init__(self, memory: ViewMemory, frames: Sequence[Frame], looker: Looker):
        if frames[-1].pose is None or frames[-1].depth is None:
            raise LookError("this world has no poses, or no depth: nothing in it can be looked at from elsewhere")
        self.memory, self._frames, self._looker = memory, frames, looker

    @property
    def index(self) -> int:
        return self._frames[-1].index

    @property
    def pose(self) -> Pose:
        pose = self._frames[-1].pose
        assert pose is not None, "as __init__ has it"
        return pose

    @property
    def camera(self) -> Camera:
        return self._looker.camera

    def look(self, gaze: Gaze) -> Sight:
        return self._looker.look(self.memory, self._frames, gaze)

    def pieces(self) -> tuple[int, ...]:
        return tuple(self._looker.numbers(self.memory))

    def piece(self, number: int, *, stride: int = 1) -> Piece:
        view = self._looker.numbers(self.memory).get(number)
        if view is None:
            raise LookError(f"no piece {number} is remembered any more; ask which there are")
        return piece_of(view.pixels, view.depth, view.pose, self.camera, view.fresh, number=number, stride=stride)


def _frame_from(frames: Sequence[Frame], gaze: Gaze, camera: Camera) -> Frame | None:
    """The newest frame that was seen from there, by the same camera."""
    if gaze.ipd_m or gaze.camera != camera:
        return None
    for frame in reversed(frames):
        if frame.pose is not None and frame.depth is not None and _is_same(frame.pose, gaze.pose):
            return frame
    return None


def _is_same(one: Pose, other: Pose) -> bool:
    if max(abs(a - b) for a, b in zip(one.position, other.position, strict=True)) > HERE:
        return False
    return abs(sum(a * b for a, b in zip(one.wxyz, other.wxyz, strict=True))) > 1 - SAME_TURN


def _number(view: View) -> int:
    return number_of(view.pixels, view.depth, view.pose, view.fresh)


def _depth_of(frame: Frame) -> np.ndarray:
    assert frame.depth is not None, "a frame without depth is never looked at"
    return frame.depth


def _rounded(pose: Pose) -> Pose:
    x, y, z = (round(value / ROUND_M) * ROUND_M for value in pose.position)
    wxyz = [round(value / ROUND_TURN) for value in pose.wxyz]
    length = math.hypot(*wxyz)
    a, b, c, d = (value / length for value in wxyz)
    return Pose((x, y, z), (a, b, c, d))


def _ways(views: Sequence[View], eye: Pose) -> tuple[np.ndarray, np.ndarray]:
    """The rotations (n, 3, 3) and shifts (n, 3) that lead from each view's axes to the eye's, float32."""
    rotation, position = eye.rotation, np.asarray(eye.position)
    turns = np.array([rotation.T @ view.pose.rotation for view in views], np.float32).reshape(-1, 3, 3)
    shifts = [rotation.T @ (np.asarray(view.pose.position) - position) for view in views]
    return turns, np.array(shifts, np.float32).reshape(-1, 3)
