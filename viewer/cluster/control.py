"""How `roam cluster status`, `drain` and `down` reach a front on the same machine: by a socket in its folder that
only its owner can open. One JSON object is sent there, one comes back."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

ANSWER_S = 300.0  # a worker that is drained may have many walks to hand over
LOOK_MS = 500  # how often to check that the front is still there


class ControlError(ValueError):
    """A front that cannot be reached, or that refuses; the message says why."""


class Control:
    """Answers at FOLDER/control. answer(command, argument) returns the answer; it may block."""

    def __init__(self, folder: Path, answer: Callable[[str, str], dict[str, Any]]):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._answer, self._context = answer, zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.bind(_address(folder))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="roam-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._context.destroy(linger=500)

    def _run(self) -> None:
        while not self._ending.is_set():
            if not self._socket.poll(100):
                continue
            try:
                asked = json.loads(self._socket.recv())
                told = self._answer(str(asked["command"]), str(asked.get("argument", "")))
            except Exception as error:  # sent back to the caller
                told = {"error": f"{type(error).__name__}: {error}"}
            self._socket.send(json.dumps(told).encode())


def ask(folder: Path, command: str, argument: str = "", *, timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """Send a command to the front that runs in this folder. Raises ControlError."""
    address, end = _address(folder), time.monotonic() + timeout_s
    if not _is_there(folder):
        raise ControlError(f"no cluster runs in {folder}: start one with `roam cluster up`, or name its --folder")
    context = zmq.Context()
    try:
        line = context.socket(zmq.REQ)
        line.linger = 0
        line.connect(address)
        line.send(json.dumps({"command": command, "argument": argument}).encode())
        while not line.poll(LOOK_MS):
            if not _is_there(folder) and not line.poll(0):
                raise ControlError(f"the cluster in {folder} ended before it answered '{command}'")
            if time.monotonic() > end:
                raise ControlError(f"the cluster in {folder} gives no answer; is its `roam cluster up` still running?")
        told = json.loads(line.recv())
    finally:
        context.destroy(linger=0)
    if "error" in told:
        raise ControlError(told["error"])
    return told


def _is_there(folder: Path) -> bool:
    """Whether somebody listens. A front that was killed leaves the socket's file behind, and ZeroMQ would wait for
    it."""
    if not hasattr(socket, "AF_UNIX"):
        return (folder / "control").exists()
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(str(folder.absolute() / "control")) == 0


def _address(folder: Path) -> str:
    address = f"ipc://{folder.absolute() / 'control'}"
    if len(address) > 100:
        raise ControlError(f"{folder} is too long a path for a socket; name a shorter --folder")
    return address
