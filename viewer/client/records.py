"""The part of a client that records: a game sends its own frames, for models to learn from."""

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
        """Send one frame of your own game, (H, W, 3) uint8, to a server that records games. action: what led to this
        frame, None for the first frame of a rollout; depth: (H, W) metres; place: world, split, rollout, licence and
        last, as in p.Record. Raises ServerError with the server's reason."""
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
