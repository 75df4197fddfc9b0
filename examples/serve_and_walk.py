"""A server and a client in one program: `python examples/serve_and_walk.py`. `roam serve` is the same by itself."""

import tempfile

from roam.viewer.client import Client, RemoteSession
from roam.viewer.opening.worlds import SceneWorlds
from roam.viewer.server.server import Server
from roam.world.action import parse_action

with (
    tempfile.TemporaryDirectory() as folder,
    Server(SceneWorlds(), address="tcp://127.0.0.1:0", folder=folder) as server,  # port 0: any that is free
    Client(server.address) as client,
):
    walk = RemoteSession.open(client, world="rooms", seed=5)
    for sentence in ("move forward", "turn right"):
        frame = walk.step(parse_action(sentence))
        print(f"frame {frame.index} of {server.address}: {frame.pixels.shape} {frame.digest}")
    walk.close()
