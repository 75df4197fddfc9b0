"""The 3D map: frames with depth and pose are fused into a growing grid of voxels, shown in a window that can be turned.

Open3D runs in a process of its own, which takes the newest frame whenever it is ready for one: a walk never waits for
its map. Knows no session; only `Fusion` needs no display.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import time
from pathlib import Path
from typing import Any

import numpy as np

from ...world.frame import Frame
from ...world.pose import Camera, Pose
from ...world.side_by_side.processes import deaf
from ...world.sight import Piece
from ..files.models import ply_of
from ..files.outputs import OutputError, write_whole
from .open3d_loading import MEND_LINUX, NoOpen3D, check_open3d, load_open3d, why_not_open3d
from .progress import waiting

VOXEL_M = 0.05  # a side
FAR_M = 12.0  # depth beyond this is too coarse to be fused, or the sky
_LEAST_WEIGHT = 0.5  # a voxel counts from its first observation on
_REDRAW_S = 0.5  # between two drawings of what has been added
_MOUSE_S = 0.02  # the longest wait for a view, because the window must react to the mouse
_LAST_S = 0.2  # how long the last view of a walk is waited for
_POINT_PX = 4.0  # size of the points: large enough that those of a surface touch
_BACKGROUND, _TRAIL = (0.04, 0.043, 0.055), (1.0, 0.85, 0.35)  # red, green, blue in [0, 1]
_FROM = (-0.5, -0.6, 0.6)  # from where the map is first seen: behind, the right, above
Sight = tuple[np.ndarray, np.ndarray, Pose]  # pixels (H, W, 3) uint8, depth (H, W) float32 metres, pose


class Fusion:
    """A voxel grid (truncated signed distances and colours, Curless and Levoy 1996) into which views are fused."""

    def __init__(self, *, camera: Camera | None = None, voxel_m: float = VOXEL_M):
        self._o3d = o3d = load_open3d()
        self.camera, self.num_views = camera or Camera(), 0
        self.trail: list[tuple[float, float, float]] = []
        kind = o3d.core.float32
        self._grid = o3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight", "color"), (kind, kind, kind), ((1,), (1,), (3,)), voxel_m, 16, 4000
        )

    def add(self, pixels: np.ndarray, depth: np.ndarray, pose: Pose) -> None:
        """Fuse a view: pixels (H, W, 3) uint8, depth (H, W) float32 metres along the forward axis."""
        image, core = self._o3d.t.geometry.Image, self._o3d.core
        known = np.where(np.isfinite(depth) & (depth < FAR_M), depth, 0).astype(np.float32)
        if not known.any():
            return
        seen, color = image(known[..., None].copy()), image(np.ascontiguousarray(pixels, np.float32) / 255)
        lens, from_world = core.Tensor(_lens(self.camera, depth.shape)), core.Tensor(_from_world(pose))
        blocks = self._grid.compute_unique_block_coordinates(seen, lens, from_world, 1.0, FAR_M)
        self._grid.integrate(blocks, seen, color, lens, lens, from_world, 1.0, FAR_M)
        self.num_views += 1
        self.trail.append(pose.position)

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """The surface so far: positions (N, 3) float32 metres in the world, colours (N, 3) float32 in [0, 1]."""
        if not self.num_views:
            return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
        cloud = self._grid.extract_point_cloud(_LEAST_WEIGHT).point
        return cloud.positions.numpy(), np.clip(cloud.colors.numpy(), 0, 1)

    def save(self, path: str | Path) -> int:
        """Write the points to a PLY file and return how many there are. Raises OutputError."""
        return write_points(path, *self.points())

    def cloud(self, positions: np.ndarray, colors: np.ndarray):
        """Those points in Open3D's form, for its windows and files."""
        cloud = self._o3d.geometry.PointCloud()
        cloud.points = self._o3d.utility.Vector3dVector(positions.astype(np.float64))
        cloud.colors = self._o3d.utility.Vector3dVector(colors.astype(np.float64))
        return cloud

    def path(self):
        """Where the views were taken from, as a line for Open3D's windows."""
        o3d, ends = self._o3d, [(n, n + 1) for n in range(len(self.trail) - 1)]
        line = o3d.geometry.LineSet()
        line.points = o3d.utility.Vector3dVector(np.array(self.trail, np.float64))
        line.lines = o3d.utility.Vector2iVector(np.array(ends, np.int32).reshape(-1, 2))
        line.paint_uniform_color(_TRAIL)
        return line


def write_points(path: str | Path, positions: np.ndarray, colors: np.ndarray) -> int:
    """Write points as `Fusion.points` has them to a PLY file, completely or not at all; returns how many there are.
    Raises OutputError."""
    if not len(positions):
        raise OutputError(f"cannot write {path}: the map is empty")
    no_triangles = np.zeros((0, 3), np.uint32)
    write_whole(path, ply_of([Piece(0, positions, (colors * 255).round().astype(np.uint8), no_triangles)]))
    return len(positions)


def read_points(path: str | Path) -> np.ndarray:
    """The positions (N, 3) float64, metres, in a PLY file that `Fusion.save` wrote."""
    return np.asarray(load_open3d().io.read_point_cloud(str(path)).points)


class Newest:
    """A queue that holds one thing, the newest; putting never waits."""

    def __init__(self, context):
        self._queue = context.Queue(1)

    def put(self, thing: object) -> None:
        with contextlib.suppress(queue.Empty):
            self._queue.get_nowait()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(thing)

    def get(self, timeout_s: float) -> Any:
        """The newest thing, or None if none comes in time."""
        with contextlib.suppress(queue.Empty):
            return self._queue.get(timeout=timeout_s)
        return None

    def leave(self) -> None:
        """Let this process end even if nobody has taken what was put."""
        self._queue.cancel_join_thread()


class Map3D:
    """The map's process, as the walk uses it. path: where S and closing save the points."""

    def __init__(self, path: str | Path, *, camera: Camera | None = None):
        check_open3d()
        with waiting("opening the map"):
            told = why_not_open3d()
        if told:
            raise NoOpen3D(f"the 3D map needs Open3D, {told}: {MEND_LINUX}")
        context = multiprocessing.get_context("spawn")
        self.path = Path(path)
        self._newest, self._ending = Newest(context), context.Event()
        self._process = context.Process(
            target=_run, args=(self._newest, self._ending, str(path), camera), name="roam-map", daemon=True
        )
        with deaf():
            self._process.start()

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def show(self, frame: Frame) -> None:
        """Offer a frame; one without depth or pose cannot be fused. Never waits."""
        if frame.depth is not None and frame.pose is not None and self.is_running:
            self._newest.put((frame.pixels, frame.depth, frame.pose))

    def close(self, timeout_s: float = 20.0) -> Path | None:
        """Save the map, end the process, and return the map's path, or None if nothing was saved."""
        self._ending.set()
        self._process.join(timeout_s)
        if self._process.is_alive():
            self._process.terminate()
        self._newest.leave()
        return self.path if self.path.exists() else None


def _run(newest: Newest, ending, path: str, camera: Camera | None) -> None:
    """The map's process: fuse the newest frame, show it, save it at the end."""
    fusion = Fusion(camera=camera)
    screen, drawn_s = _Screen(fusion, path), 0.0
    while not ending.is_set():
        view = newest.get(_MOUSE_S)
        if view is not None:
            fusion.add(*view)
        is_due = time.monotonic() - drawn_s > _REDRAW_S and fusion.num_views > screen.num_views
        drawn_s = time.monotonic() if is_due else drawn_s
        if not screen.turn(is_changed=is_due):
            break
    last = newest.get(_LAST_S)
    if last is not None:
        fusion.add(*last)
    if fusion.num_views:
        fusion.save(path)


class _Screen:
    """The window of the map, if there is a display: drag to turn, S saves."""

    def __init__(self, fusion: Fusion, path: str):
        o3d = load_open3d()
        self._fusion, self.num_views = fusion, 0
        self._window = o3d.visualization.VisualizerWithKeyCallback()
        self._is_open = self._window.create_window("Roam: the map", 800, 600, left=720, top=60)  # beside the walk
        self._window.register_key_callback(ord("S"), lambda _: fusion.save(path) < 0)
        self._shown: list = []
        if self._is_open:
            options = self._window.get_render_option()
            options.background_color, options.point_size = _BACKGROUND, _POINT_PX

    def turn(self, *, is_changed: bool) -> bool:
        """Handle the mouse, and draw; False when the window was closed."""
        if not self._is_open:
            return True
        if is_changed:
            self._redraw()
        self._window.update_renderer()
        return self._window.poll_events()

    def _redraw(self) -> None:
        self.num_views = self._fusion.num_views
        positions, colors = self._fusion.points()
        if not len(positions):
            return
        is_first = not self._shown
        for old in self._shown:
            self._window.remove_geometry(old, reset_bounding_box=False)
        self._shown = [self._fusion.cloud(positions, colors)]
        if len(self._fusion.trail) > 1:  # Open3D warns at every turn about a line without points
            self._shown.append(self._fusion.path())
        for new in self._shown:
            self._window.add_geometry(new, reset_bounding_box=is_first)
        if is_first:
            self._stand_back()

    def _stand_back(self) -> None:
        view = self._window.get_view_control()
        view.set_up((0, 0, 1))
        view.set_front(_FROM)
        view.set_lookat(self._fusion.trail[0])
        view.set_zoom(1.0)


def _lens(camera: Camera, shape: tuple[int, int]) -> np.ndarray:
    """The (3, 3) intrinsic matrix at that (H, W)."""
    height, width = shape
    return Camera(width, height, camera.fov_deg).matrix


def _from_world(pose: Pose) -> np.ndarray:
    """The (4, 4) matrix from world to camera axes."""
    matrix = np.eye(4)
    matrix[:3, :3] = pose.rotation.T
    matrix[:3, 3] = -pose.rotation.T @ np.asarray(pose.position)
    return matrix
