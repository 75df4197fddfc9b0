"""Looks into a served dream over loopback, and the size of the frames that a page draws as reliefs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ...viewer.client.client import Client
from ...viewer.opening.worlds import DreamWorlds
from ...viewer.server.server import Server
from ...viewer.wire.encoding import Look
from ...viewer.wire.protocol import pack
from ...world.engine import Engine
from ...world.pose import Camera, Pose
from ...world.sight import Gaze
from .looks import FOV_DEG, GOAL_SIDE, IPD_M, WALK, WARM_UP, Row, head


@dataclass(frozen=True)
class Relief:
    """Bytes on the wire of a frame that a client draws as a relief, p50 of so many: its JPEG, its depth, and its
    header."""

    frames: int
    jpeg_bytes: int
    depth_bytes: int
    head_bytes: int


def reliefs(engine: Engine, *, frames: int = 40) -> Relief:
    """A walk as the page at /xr asks for it: JPEG of quality 90, depth in millimetres."""
    heads = []
    with Server(DreamWorlds(engine)) as server, Client(server.address, timeout_s=300) as client:
        walk = client.open(seed=7, look=Look(encoding="jpeg", quality=90, depth="u16mm"))
        client.next_frame(walk)
        for number in range(frames):
            heads.append(client.step(walk, WALK[number % len(WALK)]).head)
    sizes = [(head.pixel_bytes, head.depth_bytes, len(pack(head)[0])) for head in heads]
    return Relief(frames, *(int(size) for size in np.median(sizes, axis=0)))


def over_the_wire(engine: Engine, *, looks: int) -> list[Row]:
    """Looks of a served dream over loopback, raw and as JPEG, with depth and mask: from the request to the picture."""
    rows = []
    with Server(DreamWorlds(engine)) as server, Client(server.address, timeout_s=300) as client:
        walk = client.open(seed=7)
        for number in range(10):
            client.step(walk, WALK[number % len(WALK)])
        pose = client.next_frame(walk, at=10).frame.pose or Pose.at(0, 0, 1.5)
        camera = Camera(GOAL_SIDE, GOAL_SIDE, FOV_DEG)
        for encoding in ("raw", "jpeg"):
            wall, sizes, unknown = [], [], []
            began = time.perf_counter()
            for number in range(WARM_UP + looks):
                start = time.perf_counter()
                gaze = Gaze(head(pose, number), camera, IPD_M)
                _, answer = client.sight(walk, gaze, encoding=encoding)
                wall.append(1000 * (time.perf_counter() - start))
                sizes.append(answer.pixel_bytes + answer.depth_bytes + answer.mask_bytes)
                unknown.append(answer.unknown)
            p50, p95 = np.percentile(wall[WARM_UP:], [50, 95])
            per_s = len(wall) / (time.perf_counter() - began)
            rows.append(
                Row(
                    side=GOAL_SIDE,
                    eyes=2,
                    beside=f"wire, {encoding}",
                    looks=looks,
                    p50_ms=float(p50),
                    p95_ms=float(p95),
                    core_ms=0.0,
                    per_s=per_s,
                    unknown=float(np.mean(unknown)),
                    wire_bytes=int(np.median(sizes)),
                )
            )
    return rows
