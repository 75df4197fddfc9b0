"""How `roam cluster status`, `drain` and `down` reach a front on the same machine: by a socket in its folder that
only its owner can open. One JSON object is sent there, one comes back; a long command holds up no other."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import zmq

ANSWER_S = 300.0  # a worker that is drained may have many walks to hand over
THREADS = 8  # commands that are answered at a time
WAIT_MS = 50  # for a command, before answers that are ready are sent
LAST_S = 1.0  # for answers that are not ready when the front ends
LOOK_MS = 500  # how often to check that the front is still there


class ControlError(ValueError):
    """A front that cannot be reached, or that refuses; the message says why."""


class Control:
    """Answers at FOLDER/control. answer(command, argument) returns the answer; it may block."""

    def __init__(self, folder: Path, answer: Callable[[str, str], dict[str, Any]]):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._answer, self._context = answer, zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="roam-control")
        self._socket.bind(_address(folder))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="roam-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)  # a drain may go on for long; whoever asked sees us end
        self._context.destroy(linger=500)

    def _run(self) -> None:
        answers: dict[Future[bytes], list[bytes]] = {}  # and to whom each goes
        while not self._ending.is_set():
            if self._socket.poll(WAIT_MS):
                *whose, asked = self._socket.recv_multipart()
                answers[self._pool.submit(self._answered, asked)] = whose
            self._send_ready(answers)
        wait(answers, LAST_S)  # `down` is answered too
        self._send_ready(answers)

    def _send_ready(self, answers: dict[Future[bytes], list[bytes]]) -> None:
        for answer in [answer for answer in answers if answer.done()]:
            self._socket.send_multipart([*answers.pop(answer), answer.result()])

    def _answered(self, asked: bytes) -> bytes:
        try:
            read = json.loads(asked)
            told = self._answer(str(read["command"]), str(read.get("argument", "")))
        except Exception as error:  # sent back to the caller
            told = {"error": f"{type(error).__name__}: {error}"}
        return json.dumps(told).encode()


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
