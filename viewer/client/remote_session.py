"""A walk on a server as an Explorer, so that everything that shows or measures a local world accepts a remote one.

Knows no socket: everything goes through a Client.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...world.action import Action, dream_at
from ...world.files import parse_json, read_bytes, whole
from ...world.frame import Frame, Rollout, walk
from ...world.pose import Camera, Pose
from ...world.sight import Gaze, LookError, Piece, Sight
from ..wire.encoding import Look
from .client import Client

PATIENCE_S = 30.0
EXACT = Look(encoding="raw", depth="f32", tokens=True)  # frames are sent without loss: equal digests


class RemoteError(ValueError):
    """A file that is not a save of a remote walk."""


class RemoteSession:
    """A walk that the client drives. Raises what a local explorer would: ActionError, ValueError.

    patience_s: how long a step waits for its frame before it raises TimeoutError; None waits without limit, including
    for a lost connection to come back.
    """

    def __init__(self, client: Client, session: str, *, patience_s: float | None = PATIENCE_S):
        self.client, self.id, self.patience_s = client, session, patience_s
        self._frame = client.next_frame(session).frame
        self._pieces: dict[int, Piece] = {}

    @staticmethod
    def open(client: Client, *, look: Look = EXACT, patience_s: float | None = PATIENCE_S, **wanted) -> RemoteSession:
        """Begin a walk. `wanted` are the arguments of Client.open: model, world, seed, text, image, size, ahead."""
        return RemoteSession(client, client.open(look=look, **wanted), patience_s=patience_s)

    @staticmethod
    def resume(client: Client, token: str, *, look: Look = EXACT) -> RemoteSession:
        """Resume a walk by its token (`client.token(session)`)."""
        return RemoteSession(client, client.resume(token, look=look))

    @property
    def frame(self) -> Frame:
        return self._frame

    def step(self, action: Action) -> Frame:
        seconds = threading.TIMEOUT_MAX if self.patience_s is None else self.patience_s
        self._frame = self.client.step(self.id, action, timeout_s=seconds).frame
        return self._frame

    def rollout(self, actions: Iterable[Action]) -> Rollout:
        return walk(self, actions)

    def fork(self) -> RemoteSession:
        return RemoteSession(self.client, self.client.fork(self.id), patience_s=self.patience_s)

    def rewind(self, frames: int) -> Frame:
        self._frame = self.client.rewind(self.id, frames)
        return self._frame

    @property
    def camera(self) -> Camera:
        """The camera of the frames. Raises LookError if the server does not say how wide they are."""
        height, width = self._frame.pixels.shape[:2]
        fov_deg = self.client.welcome.fov_deg if self.client.welcome else 0.0
        if not fov_deg:
            raise LookError("the server does not say how far across its frames see; name a camera")
        return Camera(width, height, fov_deg)

    def outlook(self) -> RemoteOutlook:
        """A view into the walk as it is on the server when each look arrives there."""
        if self._frame.pose is None:
            raise LookError("this walk's frames have no pose: nothing in it can be looked at from elsewhere")
        return RemoteOutlook(self, self._frame.index, self._frame.pose, self.camera)

    def look(self, pose: Pose, *, camera: Camera | None = None, ipd_m: float = 0.0) -> Sight:
        """What is remembered of the view from a pose; with the frames' own camera unless another is given. Raises
        LookError, or the server's refusal."""
        return self.client.look(self.id, Gaze(pose, camera or self.camera, ipd_m))

    def dream_at(self, pose: Pose) -> Frame:
        """Make the model dream what nobody has seen from a pose: a step in which the walker does not move."""
        return self.step(dream_at(pose))

    def pieces(self) -> dict[int, Piece]:
        """The pieces of surface that the server remembers, by their numbers; only new ones are sent."""
        left = 1
        while left:
            pieces, head = self.client.surfaces(self.id, self._pieces)
            for number in head.gone:
                del self._pieces[number]
            self._pieces |= {piece.number: piece for piece in pieces}
            left = head.left
        return dict(self._pieces)

    def save(self, path: str | Path) -> None:
        """Save on the server under the path's name, and write at `path` where that is, for `load_remote`. The file
        holds the walk's token, without which nobody can load the save."""
        name = Path(path).name.lstrip(".")
        self.client.save(self.id, name)
        state = {"roam": "remote session", "save": name, "token": self.client.token(self.id)}
        private = lambda name, flags: os.open(name, flags, 0o600)  # noqa: E731
        with whole(path) as partial, open(partial, "w", encoding="utf-8", opener=private) as file:
            file.write(json.dumps(state))

    def close(self) -> None:
        """End the walk on the server; the client stays connected."""
        self.client.end(self.id)


@dataclass(frozen=True)
class RemoteOutlook:
    """A view into a walk on a server. index, pose: of the newest frame taken; camera: that of the frames."""

    session: RemoteSession
    index: int
    pose: Pose
    camera: Camera

    def look(self, gaze: Gaze) -> Sight:
        return self.session.client.look(self.session.id, gaze)

    def pieces(self) -> tuple[int, ...]:
        return tuple(self.session.pieces())

    def piece(self, number: int, *, stride: int = 1) -> Piece:
        if stride == 1:
            return self.session.pieces()[number]
        pieces, _ = self.session.client.surfaces(self.session.id, set(self.pieces()) - {number}, stride=stride)
        return pieces[0]


def load_remote(
    client: Client, path: str | Path, *, look: Look = EXACT, patience_s: float | None = PATIENCE_S
) -> RemoteSession:
    """Continue from what `RemoteSession.save` wrote, with a client of the same server."""
    try:
        state = parse_json(read_bytes(path))
        name = state["save"] if state["roam"] == "remote session" else None
        token = str(state.get("token", ""))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RemoteError(f"{path} is no saved remote session ({reason})") from error
    if name is None:
        raise RemoteError(f"{path} is no saved remote session")
    return RemoteSession(client, client.load(name, token=token, look=look), patience_s=patience_s)
