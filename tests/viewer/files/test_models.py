"""Surfaces as GLB and PLY: other programs find what is remembered, in the axes of each format."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from roam.viewer.files.models import glb_of, ply_of
from roam.world.pose import Camera, Pose
from roam.world.sight import Piece
from roam.world.spatial.pieces import number_of, piece_of

ROOT = Path(__file__).parents[3]
VALIDATE = """
const validator = require("gltf-validator"), bytes = require("fs").readFileSync(0);
validator.validateBytes(new Uint8Array(bytes)).then((report) => console.log(JSON.stringify(report.issues)));
"""
READS = {5126: np.dtype("<f4"), 5121: np.dtype("u1"), 5125: np.dtype("<u4")}


def pieces() -> list[Piece]:
    """A wall three metres ahead with a step back to five metres, and another one seen from its side."""
    camera, rng = Camera(16, 16), np.random.default_rng(0)
    depth = np.full((16, 16), 3.0, np.float32)
    depth[:, 9:] = 5.0
    pixels = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    poses = [Pose.at(0, 0, 1.5), Pose.at(1, 2, 1.5, 90)]
    return [piece_of(pixels, depth, pose, camera, number=number_of(pixels, depth, pose)) for pose in poses]


def opened(data: bytes) -> tuple[dict, bytes]:
    """A GLB's tree and its buffer; the lengths that it states are checked."""
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    text_bytes, kind = struct.unpack("<I4s", data[12:20])
    blob_bytes, blob_kind = struct.unpack("<I4s", data[20 + text_bytes : 28 + text_bytes])
    assert kind == b"JSON" and blob_kind == b"BIN\0" and text_bytes % 4 == blob_bytes % 4 == 0
    blob = data[28 + text_bytes :]
    assert len(blob) == blob_bytes
    return json.loads(data[20 : 20 + text_bytes]), blob


def array(tree: dict, blob: bytes, number: int) -> np.ndarray:
    accessor = tree["accessors"][number]
    view = tree["bufferViews"][accessor["bufferView"]]
    dtype, width = READS[accessor["componentType"]], {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    assert view["byteOffset"] % 4 == 0 and view["byteLength"] == accessor["count"] * width * dtype.itemsize
    data = blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(data, dtype).reshape(accessor["count"], width)


def test_a_glb_holds_the_pieces_with_y_up():
    tree, blob = opened(glb_of(pieces()))
    primitives = tree["meshes"][0]["primitives"]
    assert len(primitives) == 2 and tree["buffers"] == [{"byteLength": len(blob)}]
    for piece, primitive in zip(pieces(), primitives, strict=True):
        points = array(tree, blob, primitive["attributes"]["POSITION"])
        assert np.allclose(points[:, 1], piece.points[:, 2]) and np.allclose(points[:, 2], -piece.points[:, 1])
        about = tree["accessors"][primitive["attributes"]["POSITION"]]
        assert np.allclose(about["min"], points.min(0)) and np.allclose(about["max"], points.max(0))
        assert (array(tree, blob, primitive["attributes"]["COLOR_0"])[:, :3] == piece.colours).all()
        corners = array(tree, blob, primitive["indices"]).reshape(-1, 3)
        assert (corners == piece.triangles).all() and corners.max() < len(points)


def test_sides_that_were_seen_are_turned_to_who_saw_them_and_no_triangle_spans_two_surfaces():
    for piece, eye in zip(pieces(), ([0, 0, 1.5], [1, 2, 1.5]), strict=True):
        a, b, c = (piece.points[piece.triangles[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        assert ((normals * (np.float32(eye) - a)).sum(1) > 0).all()
        assert len(piece.triangles) == 2 * 15 * (8 + 6)
        assert np.abs(np.linalg.norm(b - c, axis=1)).max() < 1.5


def test_points_alone_are_points_in_both():
    bare = [Piece(piece.number, piece.points, piece.colours, piece.triangles[:0]) for piece in pieces()]
    tree, _ = opened(glb_of(bare))
    assert all(primitive["mode"] == 0 and "indices" not in primitive for primitive in tree["meshes"][0]["primitives"])
    assert b"element face" not in ply_of(bare).split(b"end_header")[0]


def test_a_ply_holds_all_pieces_as_one_in_the_worlds_own_axes():
    head, body = ply_of(pieces()).split(b"end_header\n", 1)
    lines = head.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("element")}
    first, second = pieces()
    vertices = np.frombuffer(body, [("place", "<f4", 3), ("colour", "u1", 3)], counts["vertex"])
    assert np.allclose(vertices["place"], np.concatenate([first.points, second.points]))
    assert (vertices["colour"] == np.concatenate([first.colours, second.colours])).all()
    faces = np.frombuffer(body[vertices.nbytes :], [("count", "u1"), ("corners", "<u4", 3)])
    assert len(faces) == counts["face"] and (faces["count"] == 3).all()
    assert (faces["corners"][len(first.triangles) :] == second.triangles + len(first.points)).all()


def test_nothing_remembered_is_nothing_to_write():
    with pytest.raises(ValueError, match="nothing to write"):
        glb_of([])


def test_khronos_own_validator_finds_no_fault_with_it():
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node and the npm package gltf-validator")
    has = subprocess.run([node, "-e", 'require("gltf-validator")'], cwd=ROOT, capture_output=True, check=False)
    if has.returncode:
        pytest.skip("needs the npm package gltf-validator (npm install gltf-validator, or NODE_PATH)")
    done = subprocess.run([node, "-e", VALIDATE], input=glb_of(pieces()), cwd=ROOT, capture_output=True, check=True)
    issues = json.loads(done.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
