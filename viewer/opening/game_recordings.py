"""Games that record themselves: the frames that they send become folders of recordings, one per game.

Used from the disk's thread only, except `leave`. Knows the messages and no socket.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...world.action import Action
from ...world.pose import Motion
from ...world.records import pose_of
from ..files.outputs import DEVICES
from ..wire import protocol as p
from ..wire.encoding import read_depth, read_image

if TYPE_CHECKING:
    from ...scenes.recording.received import ReceivedFolder, SentFrame

MAX_GAMES = 64  # folders
MAX_OPEN_FRAMES = 2048  # of all senders, in files that are not complete yet


class GameRecordings:
    """The folder of `roam serve --record FOLDER`. folder: None records nothing; most_bytes: of all games together."""

    def __init__(self, folder: str | Path | None, *, most_bytes: int):
        self._folder, self._most_bytes = None if folder is None else Path(folder), most_bytes
        self._games: dict[str, ReceivedFolder] = {}
        self._held: Counter[str] = Counter()  # frames of each sender in files that are not complete
        self._lock = threading.Lock()

    @property
    def is_on(self) -> bool:
        return self._folder is not None

    def take(self, sender: str, message: p.Record, payload: bytes | memoryview) -> p.Recorded:
        """Append one frame. Raises ProtocolError, with the reason, if it cannot be appended."""
        from ...scenes.scene import SceneError

        frame = read_frame(message, payload)
        with self._lock:
            game = self._game(message)
            if self._held.total() >= MAX_OPEN_FRAMES:
                raise p.ProtocolError("limit", "too many rollouts are being recorded; end some with last")
            try:
                walks = game.add(sender, message.rollout, message.split, message.world, frame)
                left = game.end(sender, message.rollout) if message.last else 0
            except SceneError as error:
                is_disk = "cannot write" in str(error)
                raise p.ProtocolError("storage" if is_disk else "bad_request", str(error)) from error
            finally:
                self._held[sender] = sum(held.held_of(sender) for held in self._games.values())
        return p.Recorded(seq=message.seq, walks=walks, left=left)

    def leave(self, sender: str) -> None:
        """A sender is gone: frames of its incomplete files are dropped."""
        with self._lock:
            for game in self._games.values():
                game.end(sender)
            self._held.pop(sender, None)

    def _game(self, message: p.Record) -> ReceivedFolder:
        from ...scenes.recording.received import ReceivedFolder, Sender
        from ...scenes.scene import SceneError

        if self._folder is None:
            raise p.ProtocolError("bad_request", "this server records no games: start it with --record FOLDER")
        if not message.game or message.game.partition(".")[0].lower() in DEVICES:
            raise p.ProtocolError("bad_request", f"'{message.game}' names no game; wanted a name for its folder")
        if message.game not in self._games:
            if len(self._games) >= MAX_GAMES:
                raise p.ProtocolError("limit", f"{MAX_GAMES} games are recorded already")
            try:
                sender = Sender(message.game, licence=message.licence or Sender("").licence)
                self._games[message.game] = ReceivedFolder(self._folder / message.game, sender)
            except (SceneError, OSError) as error:
                raise p.ProtocolError("storage", f"the recordings of {message.game} cannot be kept: {error}") from error
        size = sum(game.num_bytes for game in self._games.values())
        if size >= self._most_bytes:
            raise p.ProtocolError("storage", f"recordings hold {size} bytes of {self._most_bytes}; move some away")
        return self._games[message.game]


def read_frame(message: p.Record, payload: bytes | memoryview) -> SentFrame:
    """The frame in a message. Raises ProtocolError if its bytes do not agree with its header."""
    from ...scenes.recording.received import SentFrame

    size = message.width * message.height
    depth_bytes = {"": 0, "f32": 4, "u16mm": 2}[message.depth] * size
    payload = memoryview(payload)
    if len(payload) < depth_bytes:
        raise p.ProtocolError("malformed", f"{len(payload)} bytes; its depth alone has {depth_bytes}")
    picture, plane = payload[: len(payload) - depth_bytes], payload[len(payload) - depth_bytes :]
    if message.encoding == "raw":
        if len(picture) != 3 * size:
            raise p.ProtocolError("malformed", f"{len(picture)} bytes of raw pixels; wanted {3 * size}")
        pixels = np.frombuffer(picture, np.uint8).reshape(message.height, message.width, 3)
    else:
        pixels = read_image(picture)
        if pixels.shape[:2] != (message.height, message.width):
            shown = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise p.ProtocolError(
                "malformed", f"a picture of {shown}; its header says {message.width}x{message.height}"
            )
    depth = read_depth(message, plane)
    if depth is not None and not (np.isfinite(depth) | np.isposinf(depth)).all():
        raise p.ProtocolError("malformed", "its depth holds what is no number")
    pose = pose_of(message.pose) if message.pose else None
    motion = Motion(*message.motion) if message.motion else None
    action = Action(message.text, motion) if message.text or motion else None
    return SentFrame(pixels, message.fov_deg, depth, pose, action)
