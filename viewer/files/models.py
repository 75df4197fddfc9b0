"""Surfaces as files that other programs open: GLB (glTF 2.0 in one file) and PLY, with a colour for every vertex.

Both are metres. GLB has +Y up, as glTF demands; PLY keeps the world's own axes, right-handed with +Z up.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import numpy as np

from ...world.sight import Piece

_FLOAT, _BYTE, _WHOLE = 5126, 5121, 5125  # glTF's names of number types
_VERTICES, _INDICES = 34962, 34963  # and of what a part of the buffer is used for
_POINTS, _TRIANGLES = 0, 4


def glb_of(pieces: Sequence[Piece]) -> bytes:
    """A GLB file of one mesh, one primitive for each piece; a piece without triangles becomes points. Raises
    ValueError if there is nothing to write."""
    pieces = [piece for piece in pieces if len(piece.points)]
    if not pieces:
        raise ValueError("no surface is remembered: there is nothing to write")
    blob, views, accessors, primitives = bytearray(), [], [], []

    def stored(array: np.ndarray, kind: int, shape: str, target: int, **more) -> int:
        data = np.ascontiguousarray(array).tobytes()
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": len(data), "target": target})
        about = {"bufferView": len(views) - 1, "componentType": kind, "count": len(array), "type": shape}
        accessors.append(about | more)
        blob.extend(data + b"\0" * (-len(data) % 4))
        return len(accessors) - 1

    for piece in pieces:
        points, alpha = piece.y_up.astype("<f4"), np.full((len(piece.points), 1), 255, np.uint8)
        ends = {"min": points.min(0).tolist(), "max": points.max(0).tolist()}
        attributes = {
            "POSITION": stored(points, _FLOAT, "VEC3", _VERTICES, **ends),
            "COLOR_0": stored(np.concatenate([piece.colours, alpha], 1), _BYTE, "VEC4", _VERTICES, normalized=True),
        }
        primitive = {"attributes": attributes, "material": 0, "mode": _POINTS}
        if len(piece.triangles):
            indices = stored(piece.triangles.astype("<u4").reshape(-1), _WHOLE, "SCALAR", _INDICES)
            primitive |= {"indices": indices, "mode": _TRIANGLES}
        primitives.append(primitive)
    tree = {
        "asset": {"version": "2.0", "generator": "roam"},
        "extensionsUsed": ["KHR_materials_unlit"],  # the colours were seen with their light, so no light is applied
        "materials": [{"extensions": {"KHR_materials_unlit": {}}, "doubleSided": True, "pbrMetallicRoughness": {}}],
        "meshes": [{"name": "walk", "primitives": primitives}],
        "nodes": [{"mesh": 0, "name": "walk"}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
        "buffers": [{"byteLength": len(blob)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    whole = 12 + 8 + len(text) + 8 + len(blob)
    return (
        struct.pack("<4sII", b"glTF", 2, whole)
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(blob), b"BIN\0")
        + bytes(blob)
    )


def ply_of(pieces: Sequence[Piece]) -> bytes:
    """A binary PLY file of all pieces as one: vertices with colours, and faces where there are triangles."""
    counts = np.cumsum([0, *(len(piece.points) for piece in pieces)])
    vertices = np.empty(counts[-1], [("place", "<f4", 3), ("colour", "u1", 3)])
    faces = np.empty(sum(len(piece.triangles) for piece in pieces), [("count", "u1"), ("corners", "<u4", 3)])
    faces["count"] = 3
    at = 0
    for piece, first, end in zip(pieces, counts, counts[1:], strict=False):
        vertices["place"][first:end], vertices["colour"][first:end] = piece.points, piece.colours
        faces["corners"][at : at + len(piece.triangles)] = piece.triangles + np.uint32(first)
        at += len(piece.triangles)
    head = ["ply", "format binary_little_endian 1.0", "comment metres, right-handed, z up"]
    head += [f"element vertex {counts[-1]}", *(f"property float {axis}" for axis in "xyz")]
    head += [f"property uchar {name}" for name in ("red", "green", "blue")]
    head += [f"element face {len(faces)}", "property list uchar uint vertex_indices"] if len(faces) else []
    return ("\n".join([*head, "end_header"]) + "\n").encode() + vertices.tobytes() + faces.tobytes()
