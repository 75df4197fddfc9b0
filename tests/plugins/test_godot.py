"""Godot's clients, run in Godot itself without a screen: the add-on in Godot 4, the single script in Godot 3."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from roam.viewer.client.client import Client
from roam.viewer.opening.worlds import Worlds
from roam.viewer.server.gateway import Gateway
from roam.viewer.server.server import Server
from roam.world.frame import Frame
from roam.world.pose import Camera, Pose

ROOT = Path(__file__).parents[2]
OURS = ROOT / "build" / "engines" / "godot4"
GODOT4 = str(OURS) if OURS.exists() else shutil.which("godot4")
GODOT3 = shutil.which("godot3-server")
WALL_M = 1.2  # metres ahead of the corridor's beginning

four = pytest.mark.skipif(GODOT4 is None, reason="no godot4 here; tests/engines/godot4.sh fetches it")
three = pytest.mark.skipif(GODOT3 is None, reason="no godot3-server here; make test-engines installs it")


class Corridor:
    """An explorer whose frames show a wall 1.2 m ahead of the beginning; the explorer may walk through it."""

    def __init__(self):
        self.index, self.pose = 0, Pose.at(0, 0, 1.6)

    @property
    def frame(self) -> Frame:
        far = max(0.1, WALL_M - self.pose.position[0])
        return Frame(
            self.index, np.full((64, 64, 3), 99, np.uint8), depth=np.full((64, 64), far, np.float32), pose=self.pose
        )

    def step(self, action) -> Frame:
        self.index, self.pose = self.index + 1, self.pose.moved(action.motion)
        return self.frame

    def save(self, path) -> None:
        Path(path).touch()

    def close(self) -> None:
        pass


class Corridors(Worlds):
    """Opens corridors."""

    models, worlds = ("corridor",), ("corridor",)
    fov_deg = Camera().fov_deg

    def open(self, request) -> Corridor:
        return Corridor()

    def load(self, path: Path) -> Corridor:
        return Corridor()


def run(command: list) -> list[list[str]]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SCRIPT ERROR" not in done.stdout + done.stderr, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return [line for line in lines if line and line[0] in ("frame", "note", "player")]


def socket_of(gateway: Gateway) -> str:
    return gateway.url.replace("http", "ws") + "ws"


def godot4(server: Server, *plan: str) -> list[list[str]]:
    with Gateway(server.address) as gateway:
        command = [GODOT4, "--path", ROOT / "plugins" / "godot4", "--headless", "--", "--address", socket_of(gateway)]
        return run([*command, "--seed", "6", *plan])


def numbers(line: list[str]) -> np.ndarray:
    return np.array(line[-3:], float)


@four
def test_godot_4_walks_by_sentences_to_the_frames_of_the_world(server, truth):
    words = ("turn left 30 degrees", "move forward 1 metre")
    lines = godot4(server, "--say", words[0], "--say", "jmp", "--say", words[1])
    assert any("unknown verb 'jmp'" in " ".join(line) for line in lines)
    frames = [line for line in lines if line[0] == "frame"]
    frame = truth(6, *words)
    sequence = [line[1:3] for line in frames]
    assert [str(frame.index), frame.digest] in sequence
    x, y, z = frame.pose.position
    told = frames[sequence.index([str(frame.index), frame.digest])]
    assert numbers(told) == pytest.approx([x, z, -y], abs=1e-3)  # Godot's axes
    with Client(server.address) as client:
        assert client.stats().sessions == 0  # it ended its walk


@four
def test_in_godot_4_the_dream_comes_after_a_player_who_walks_by_key(server, truth):
    lines = godot4(server, "--say", "turn left 30 degrees", "--press", "w:1.5")
    player = next(np.array(line[1:4], float) for line in lines if line[0] == "player")
    begun = numbers(next(line for line in lines if line[0] == "frame"))
    last = numbers([line for line in lines if line[0] == "frame"][-1])
    assert np.linalg.norm(player - begun) > 0.5
    assert np.linalg.norm(player - last) < 0.15


@four
def test_in_godot_4_a_player_bumps_into_what_was_seen(tmp_path):
    with Server(Corridors(), folder=tmp_path / "walks") as server:
        lines = godot4(server, "--press", "w:3")
    player = next(line for line in lines if line[0] == "player")
    assert 0.5 < float(player[1]) < WALL_M - 0.1  # a body of 0.2 m stops; the world itself would have let it through
    assert int(player[-1]) > 0


@three
def test_godot_3_walks_by_sentences_to_the_frames_of_the_world(server, truth):
    words = ("turn left 30 degrees", "move forward 1 metre")
    with Gateway(server.address) as gateway:
        say = ";".join((words[0], "jmp", words[1]))
        command = [GODOT3, "--path", ROOT / "plugins" / "godot3", f"--address={socket_of(gateway)}", "--seed=6"]
        lines = run([*command, f"--say={say}"])
    frame = truth(6, *words)
    assert lines[-1] == ["frame", str(frame.index), frame.digest, "128"]
    assert any("unknown verb 'jmp'" in " ".join(line) for line in lines)
    with Client(server.address) as client:
        assert client.stats().sessions == 0
