"""What `roam view` does: a window on a world that a server runs, and how walks are opened there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...world.files import read_bytes
from ...world.options import DreamOptions
from ...world.pose import Pose
from ..client.client import Client
from ..client.knock import Address, connect
from ..client.remote_session import RemoteSession, load_remote
from ..opening.start import Place, Start
from ..opening.worlds import EXPLORE
from ..play.keymap import Keymap, load_keymap
from ..play.player import Player
from ..play.recording import recording_path
from ..play.stopping import Stopping
from ..wire.encoding import Look

LOOK = Look(encoding="raw", tokens=True)  # everything that a frame's digest covers, so that a log can be replayed


@dataclass(frozen=True)
class ViewOrder:
    """The options of the command line. server_key, keys, name: for servers that ask for keys."""

    address: str
    start: Start
    server_key: str = ""
    keys: Path | None = None
    name: str = "viewer"
    record: Path | None = None
    out: Path = Path("roam-out")


class RemoteOpener:
    """Opens walks on a server. model is None: the server has the weights."""

    model: str | Path | None = None

    def __init__(self, client: Client):
        self.client = client
        self.dreams = DreamOptions()  # as the server was configured

    def open(self, start: Start) -> Place:
        """Open a walk. Raises ServerError if the server refuses, ValueError for a file that is no save."""
        if start.load:
            return Place(start, load_remote(self.client, start.load, look=LOOK, patience_s=None), Pose.moved)
        model = "scene" if start.truth else self.client.models[0]
        image = read_bytes(start.image) if start.image else b""
        explorer = RemoteSession.open(
            self.client,
            look=LOOK,
            patience_s=None,
            model=model,
            world=start.family or "",
            seed=start.seed,
            image=image,
            text=start.text or "",
        )
        return Place(replace(start, truth=model == "scene"), explorer, Pose.moved, model == EXPLORE)


def view_in_window(order: ViewOrder, *, keys: Path | None, scale: int) -> None:
    """Open the window on a server's world and walk until it is closed."""
    from ..window.window import Window

    keymap = load_keymap(keys) if keys else Keymap()
    if order.record:
        recording_path(order.record)
    with connect(Address(order.address, order.server_key, order.keys, order.name)) as client:
        player = Player(RemoteOpener(client), order.start, keymap=keymap, folder=order.out, connection=client)
        if order.record:
            player.record(order.record)
        window = Window(player, scale=scale)
        stop = Stopping()
        try:
            with stop:
                window.run(stop=lambda: stop.is_asked)
        finally:
            player.close()
            window.close()
    for note in player.notes:
        print(note)
    stop.leave()
