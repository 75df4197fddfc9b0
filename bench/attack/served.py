"""A server as in real use, in a process of its own, that can be measured, killed and restarted."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from ...viewer import cli
from ...world.side_by_side.processes import deaf

START_S = 300.0


class ServedError(RuntimeError):
    """A server that did not start, or a system that does not say what its processes take."""


class Served:
    """`roam serve` on a free port with a folder of its own, for as long as the `with` lasts.

    is_truth: true scenes alone, else the dream that ships; has_page: whether it serves the web page as well.
    """

    def __init__(self, *, is_truth: bool = True, has_page: bool = False):
        self._home = tempfile.TemporaryDirectory(prefix="roam-attack-")
        self.address, self.page = f"tcp://127.0.0.1:{_free_port()}", ""
        self._log = Path(self._home.name) / "log.txt"
        self._options = ["--truth"] * is_truth + (["--page-port", str(_free_port())] if has_page else [])
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Served:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error) -> None:
        if self.is_alive:
            self._running.terminate()
            try:
                self._running.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        self._home.cleanup()

    def start(self) -> None:
        """Start, also again after `kill`; returns when clients may come. Raises ServedError."""
        folder = str(Path(self._home.name) / "walks")
        command = [sys.executable, "-m", cli.__name__, "serve", self.address, "--folder", folder, *self._options]
        with self._log.open("ab") as log, deaf():
            before = log.tell()
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        end, wanted = time.monotonic() + START_S, "walk at (.+)" if "--page-port" in self._options else "serving on"
        while not (found := re.search(wanted, self.log[before:])):
            if not self.is_alive or time.monotonic() > end:
                raise ServedError(f"the server did not start: {self.log[-2000:]}")
            time.sleep(0.02)
        self.page = found.group(1) if found.groups() else ""

    def kill(self) -> None:
        """End it like a power failure, without a warning."""
        self._running.send_signal(signal.SIGKILL)
        self._running.wait()

    @property
    def _running(self) -> subprocess.Popen:
        assert self._process is not None, "it was started"
        return self._process

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def memory_mb(self) -> float:
        """Its memory, in MB of 2**20 bytes. Raises ServedError if there is no /proc."""
        return _status(self._running.pid, "VmRSS") / 1024

    @property
    def cpu_s(self) -> float:
        """Processor seconds that it has used, on all its threads; other programs do not count."""
        fields = Path(f"/proc/{self._running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def written_mb(self) -> float:
        """What it has had written to disk so far."""
        text = Path(f"/proc/{self._running.pid}/io").read_text()
        return _number(r"^write_bytes: (\d+)", text) / 2**20

    @property
    def num_files(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self._running.pid}/fd"))


def _status(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise ServedError("this bench reads /proc: run it on Linux") from error
    return _number(rf"^{name}:\s+(\d+)", text)


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.M)
    if found is None:
        raise ServedError(f"/proc says nothing of {pattern}: run this bench on Linux")
    return int(found.group(1))


def port_of(address: str) -> int:
    """The port of an address that names one."""
    port = urlsplit(address).port
    assert port is not None, address
    return port


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
