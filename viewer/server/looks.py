"""Makes the answers to looks and surfaces. Runs apart from the socket and the steps, and knows neither."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ...world.pose import Camera
from ...world.records import known_pose_of
from ...world.sight import FOVS_DEG, SIDES, Gaze, LookError, Outlook, Piece
from ..wire import protocol as p
from ..wire.encoding import encode_pieces, encode_sight

Answer = tuple[p.SightHead | p.PiecesHead, bytes | memoryview]
MOST_ACROSS = 512  # points of a piece, across and down


def sight_of(outlook: Outlook, message: p.Look) -> Answer:
    """The answer to a look. Raises LookError if it is beyond the limits."""
    began = time.perf_counter()
    sight = outlook.look(_gaze(outlook, message))
    look_ms = (time.perf_counter() - began) * 1000
    done = encode_sight(sight, message)
    return p.SightHead(seq=message.seq, session=message.session, look_ms=look_ms, **done.fields), done.payload


def pieces_of(outlook: Outlook, message: p.Surfaces) -> Answer:
    """The pieces that the client does not have yet, the newest first, as many as fit into an answer."""
    there = outlook.pieces()
    wanted = [number for number in reversed(there) if number not in set(message.known)]
    stride = max(message.stride, -(-max(outlook.camera.width, outlook.camera.height) // MOST_ACROSS))
    pieces = _fitting((outlook.piece(number, stride=stride) for number in wanted), message.most)
    done = encode_pieces(pieces, kind=message.kind, axes=message.axes)
    gone, left = tuple(number for number in message.known if number not in set(there)), len(wanted) - len(pieces)
    head = p.PiecesHead(
        seq=message.seq, session=message.session, index=outlook.index, gone=gone, left=left, **done.fields
    )
    return head, done.payload


def _fitting(pieces: Iterable[Piece], most: int) -> list[Piece]:
    """The first pieces, as many as have no more than that many points together, but at least one."""
    taken: list[Piece] = []
    points = 0
    for piece in pieces:
        points += len(piece.points)
        if taken and points > most:
            break
        taken.append(piece)
    return taken


def _gaze(outlook: Outlook, message: p.Look) -> Gaze:
    """The gaze that a look asks for; what the message leaves out is taken from the walk."""
    own = outlook.camera
    width, height, fov_deg = message.width or own.width, message.height or own.height, message.fov_deg or own.fov_deg
    if min(width, height) < SIDES[0] or fov_deg < FOVS_DEG[0]:
        raise LookError(
            f"a look of {width}x{height} pixels, {fov_deg:g} degrees wide; wanted at least {SIDES[0]} a "
            f"side and {FOVS_DEG[0]:g} degrees"
        )
    pose = known_pose_of(message.pose) if message.pose else outlook.pose
    return Gaze(pose, Camera(width, height, fov_deg), message.ipd_m)
