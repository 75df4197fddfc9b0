"""The part of a client that looks: views from any pose, and remembered surfaces, as the server has them."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from ...world.action import Action, dream_at
from ...world.pose import Pose
from ...world.records import pose_row
from ...world.sight import Gaze, Piece, Sight
from ..wire import protocol as p
from ..wire.encoding import decode_pieces, decode_sight
from .walk_state import Received, ServerError


class Looks:
    """`Client`'s methods for looks. The Client sends the requests and stores the payload of each answer by its seq."""

    welcome: p.Welcome | None
    _changed: threading.Condition
    _payloads: dict[int, bytes | memoryview]

    def _next_seq(self) -> int:
        raise NotImplementedError

    def _request(self, message: p.Request, wanted: type[Any], payload: bytes = b"") -> Any:
        raise NotImplementedError

    def step(self, session: str, action: Action, *, timeout_s: float | None = None) -> Received:
        raise NotImplementedError

    def look(self, session: str, gaze: Gaze, *, encoding: str = "raw", quality: int = 85) -> Sight:
        """View a walk from any pose, as far as the server remembers it. This takes no step. Raises ServerError if
        the server does not support looks or refuses this one."""
        return self.sight(session, gaze, encoding=encoding, quality=quality)[0]

    def sight(self, session: str, gaze: Gaze, *, encoding: str, quality: int = 85) -> tuple[Sight, p.SightHead]:
        """`look` with the answer's header."""
        self._check_version(p.Look.SINCE, "has no looks")
        camera, seq = gaze.camera, self._next_seq()
        head = self._request(
            p.Look(
                seq=seq,
                session=session,
                pose=tuple(pose_row(gaze.pose)),
                ipd_m=gaze.ipd_m,
                fov_deg=camera.fov_deg,
                width=camera.width,
                height=camera.height,
                encoding=encoding,
                quality=quality,
                depth="f32",
                mask=True,
            ),
            p.SightHead,
        )
        with self._changed:
            return decode_sight(head, self._payloads.pop(seq)), head

    def surfaces(
        self, session: str, known: Collection[int] = (), *, stride: int = 1, most: int = 65536
    ) -> tuple[list[Piece], p.PiecesHead]:
        """Remembered pieces of surface that are not in `known` (piece numbers). The answer's header says which of
        the known ones are gone, and how many are left to ask for."""
        self._check_version(p.Look.SINCE, "has no looks")
        seq = self._next_seq()
        asked = p.Surfaces(seq=seq, session=session, known=tuple(known), stride=stride, most=most)
        head = self._request(asked, p.PiecesHead)
        with self._changed:
            return decode_pieces(head, self._payloads.pop(seq)), head

    def dream_at(self, session: str, pose: Pose, *, timeout_s: float | None = None) -> Received:
        """Make the model dream what is unknown from a pose, and wait for the frame of that step; `look` shows more
        afterwards. Raises ActionError if the world cannot dream there, ServerError if the server cannot."""
        return self.step(session, dream_at(pose), timeout_s=timeout_s)

    def _check_version(self, since: int, lack: str) -> None:
        assert self.welcome is not None, "a client stands once it was welcomed"
        if self.welcome.version < since:
            raise ServerError("version", f"this server speaks protocol {self.welcome.version}, which {lack}")
