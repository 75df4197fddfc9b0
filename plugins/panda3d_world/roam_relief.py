"""A frame's depth as geometry of Panda3D: a sheet pushed out to what was seen. Knows no server and no window."""

from __future__ import annotations

import numpy as np
from roam.world.pose import Camera, Pose

try:
    from panda3d import core
except ImportError as error:
    raise ImportError("this is for programs of Panda3D: pip install panda3d") from error

CELLS = 128  # a side, at most: 33 thousand triangles
NEAR, FAR = 0.05, 60.0  # metres; anything farther, or without depth, is put at FAR


class Relief:
    """A sheet that fills a camera's view, the corners of its cells pushed out to the depth seen there; it has no holes.

    From where the frame was seen it looks like the frame; from beside, near things move before far ones.
    """

    def __init__(self, camera: Camera, parent: core.NodePath, texture: core.Texture):
        columns, rows = min(CELLS, camera.width), min(CELLS, camera.height)
        x, y = np.linspace(0, camera.width, columns + 1), np.linspace(0, camera.height, rows + 1)
        self._around = [np.ix_(down, along) for down in _sides(y) for along in _sides(x)]
        x, y = np.meshgrid(x, y)
        rays = camera.rays_at(x - 0.5, y - 0.5)  # through corners, not centres
        # (rows + 1, columns + 1, 3) in Panda's axes: right, forward, up
        self._rays = np.stack([rays[..., 0], rays[..., 2], -rays[..., 1]], axis=-1)
        node = core.GeomNode("roam-relief")
        node.add_geom(_sheet(np.stack([x / camera.width, 1 - y / camera.height], axis=-1)))
        node.set_bounds(core.OmniBoundingVolume())  # the vertices move with every frame
        node.set_final(True)
        self._geom = node.modify_geom(0)
        self.node: core.NodePath = parent.attach_new_node(node)
        self.node.set_texture(texture)
        self.node.set_two_sided(True)

    def update(self, depth: np.ndarray) -> None:
        """depth (H, W) float32 metres along the camera's forward axis."""
        depth = np.nan_to_num(depth, nan=FAR, posinf=FAR).clip(NEAR, FAR)
        pushed = np.minimum.reduce([depth[at] for at in self._around])  # the nearer one
        vertices = (self._rays * pushed[..., None]).astype(np.float32)
        self._geom.modify_vertex_data().modify_array_handle(0).copy_data_from(vertices.tobytes())


def quat_of(pose: Pose) -> core.Quat:
    """A pose's rotation for a node with Panda's axes, +X right, +Y forward, +Z up; the worlds' axes are the same."""
    quarter = core.Quat(0.5**0.5, 0.5**0.5, 0, 0)  # about +X, to a camera's axes: +Y down, +Z forward
    return quarter * core.Quat(*pose.wxyz)  # Panda's products are done from left to right


def _sides(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels before and after each cell edge; at the border both are the only one there."""
    last = int(edges[-1]) - 1
    return np.clip(np.ceil(edges).astype(int) - 1, 0, last), np.clip(edges.astype(int), 0, last)


def _sheet(corners: np.ndarray) -> core.Geom:
    """Two triangles a cell between corners (rows + 1, columns + 1, 2), which are texture coordinates."""
    form = core.GeomVertexFormat()  # an array for each, so that a frame rewrites positions alone
    for name, size, kind in (("vertex", 3, core.Geom.C_point), ("texcoord", 2, core.Geom.C_texcoord)):
        column = core.GeomVertexArrayFormat()
        column.add_column(core.InternalName.make(name), size, core.Geom.NT_float32, kind)
        form.add_array(column)
    number = np.arange(corners[..., 0].size, dtype=np.uint32).reshape(corners.shape[:2])
    data = core.GeomVertexData("roam-relief", core.GeomVertexFormat.register_format(form), core.Geom.UH_dynamic)
    data.unclean_set_num_rows(number.size)
    data.modify_array_handle(1).copy_data_from(corners.astype(np.float32).tobytes())
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    indices = np.stack([a, c, b, b, c, d], axis=-1)
    triangles = core.GeomTriangles(core.Geom.UH_static)
    triangles.set_index_type(core.Geom.NT_uint32)
    triangles.modify_vertices().unclean_set_num_rows(indices.size)
    triangles.modify_vertices().modify_handle().copy_data_from(indices.tobytes())
    geom = core.Geom(data)
    geom.add_primitive(triangles)
    return geom
