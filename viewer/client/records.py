"""The part of a client that records: frames of a game of one's own, sent to be learnt from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...world.action import Action
from ...world.pose import Pose
from ...world.records import motion_row, pose_row
from ..wire import protocol as p


class Records:
    """`Client`'s method for recording; the Client sends the requests."""

    def _next_seq(self) -> int:
        raise NotImplementedError

    def _request(self, message: p.Request, wanted: type[Any], payload: bytes = b"") -> Any:
        raise NotImplementedError

    def record(
        self,
        pixels: np.ndarray,
        fov_deg: float,
        action: Action | None = None,
        *,
        game: str,
        depth: np.ndarray | None = None,
        pose: Pose | None = None,
        **place,
    ) -> p.Recorded:
        """Send a frame of one's own game, (H, W, 3) uint8, to be learnt from, on a server that records games. action:
        what led here, None for a rollout's first frame; depth: (H, W) metres; place: world, split, rollout, licence and
        last, as p.Record has them. Raises ServerError with the server's reason."""
        planes = [pixels.astype(np.uint8).tobytes(), b"" if depth is None else depth.astype("<f4").tobytes()]
        motion = None if action is None else action.motion
        message = p.Record(
            seq=self._next_seq(),
            game=game,
            width=pixels.shape[1],
            height=pixels.shape[0],
            depth="" if depth is None else "f32",
            fov_deg=fov_deg,
            pose=() if pose is None else tuple(pose_row(pose)),
            text="" if action is None else action.text,
            motion=() if motion is None else tuple(motion_row(motion)),
            **place,
        )
        return self._request(message, p.Recorded, b"".join(planes))
