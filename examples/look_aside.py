"""A served dream seen from where nobody walks: `python examples/look_aside.py`. What an engine's free camera does."""

import tempfile

from roam.viewer.client import Client, RemoteSession
from roam.viewer.opening.worlds import DreamWorlds
from roam.viewer.server.server import Server
from roam.world.engine import Engine
from roam.world.pose import Motion

with (
    tempfile.TemporaryDirectory() as folder,
    Server(DreamWorlds(Engine.from_checkpoint()), address="tcp://127.0.0.1:0", folder=folder) as server,
    Client(server.address, timeout_s=120) as client,
):
    walk = RemoteSession.open(client, seed=5, patience_s=120)
    aside = walk.frame.pose.moved(Motion(right=0.5, yaw_deg=-60))
    seen = walk.look(aside, ipd_m=0.063)  # two eyes, from memory, beside the steps
    print(f"{seen.unknown.mean():.0%} of the view from aside is unknown")
    walk.dream_at(aside)  # a step of the model; the walker stays
    print(f"{walk.look(aside, ipd_m=0.063).unknown.mean():.0%} once it is dreamt, frame {walk.frame.index}")
    print(f"{len(walk.pieces())} pieces of surface")
    walk.close()
