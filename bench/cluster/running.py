"""A cluster as users run it: `roam cluster up` in processes of its own, with their memory and processor time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ...viewer.cluster.control import ask
from ...world.side_by_side.processes import deaf


class Cluster:
    """`roam cluster up` in a folder of its own, for as long as the `with` lasts."""

    def __init__(self, world: str, workers: int, walkers: int):
        self._folder = tempfile.TemporaryDirectory(prefix="roam-bench-")
        self.folder = Path(self._folder.name)
        places = -(-walkers // workers) + 4
        command = [sys.executable, "-m", "roam.viewer.begin", "cluster", "up", "tcp://127.0.0.1:0"]
        command += ["--folder", str(self.folder), "--workers", str(workers), "--walks", str(max(places, walkers))]
        command += ["--each", "1000", *(["--truth"] if world == "truth" else [])]
        self._log = (self.folder / "log").open("w")
        self._process: subprocess.Popen | None = None
        try:
            with deaf():
                self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
            self.address = self._read_address()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_error) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(120)
        self._log.close()
        self._folder.cleanup()

    def status(self) -> dict:
        return ask(self.folder, "status", timeout_s=60)

    @property
    def _running(self) -> subprocess.Popen:
        assert self._process is not None, "it was started"
        return self._process

    def memory_mb(self) -> float:
        told = sum(row["memory_bytes"] for row in self.status()["workers"])
        return (told + _resident(self._running.pid)) / 2**20

    def processor_s(self) -> tuple[float, float]:
        """Processor seconds of the front, and of all workers together, so far."""
        workers = sum(_processor_s(row["pid"]) for row in self.status()["workers"])
        return _processor_s(self._running.pid), workers

    def kill_one(self, chance: random.Random) -> str | None:
        """kill -9 a worker that has walks; returns its name."""
        there = [row for row in self.status()["workers"] if row["driven"]]
        if not there:
            return None
        row = chance.choice(there)
        os.kill(row["pid"], signal.SIGKILL)
        return row["name"]

    def _read_address(self) -> str:
        said = self._running.stdout
        assert said is not None
        for line in said:
            if line.startswith("serving on "):
                threading.Thread(target=said.read, daemon=True).start()
                return line.split()[-1]
        raise RuntimeError(f"the cluster did not start: {(self.folder / 'log').read_text()[-2000:]}")


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
