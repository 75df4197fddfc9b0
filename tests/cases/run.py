"""Runs small scripts that once showed a fault, and tells which still do: `python tests/cases/run.py FOLDER [NAME ...]`.

Each script exits with 0 where Roam does as it should. They run one after the other on a copy of their folder, in which
modules that have moved since are named by where they are now, and lines that break when the fault is gone are mended
(STUMBLES); lib/ has what some of them import and do not bring, but for psutil, which those in wire/ want installed.
Their servers are this tree's. Not a test by itself: every kind of fault has one of its own (docs/everywhere.md).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOVED = {
    "start": "opening.start",
    "player": "play.player",
    "window": "window.window",
    "sdl": "window.sdl",
    "gateway": "server.gateway",
    "encoding": "wire.encoding",
    "remote": "client.remote_session",
    "generate": "commands.generate",
    "view": "commands.view",
}
# arguments of a script, where it needs any
ARGUMENTS = {"big_frames": ["read"], "endless": ["400"], "giant": ["--truth"], "write": ["200"]}
# lines that end in a traceback because Roam is right or a machine is slow, and what replaces them
STUMBLES = {
    # wait for servers until they answer
    "common": [
        ('time.sleep(12 if "--truth" not in args else 6)', "answered(port, *args)"),
        ("import contextlib, os,", "from patience import answered; import contextlib, os,"),
    ],
    "10_reverse_proxy": [
        ("time.sleep(1.5)", "answered(6212), answered(6213)"),
        ("import asyncio, re,", "from patience import answered; import asyncio, re,"),
    ],
    # refused words lead to no frame, so there is no pose to look at; the next act has one
    "typo": [("lost = not f['pose']", "lost = bool(f) and not f['pose']")],
    # a connection is cut before all of its endless message is sent; of its first one the script expects that
    "endless": [
        ("for i in range(300): k.sendall(part)", "sent_until_cut(k, part, 300)"),
        ("k.sendall(rawzmtp.frame(b''));", "sent_until_cut(k, rawzmtp.frame(b''), 1);"),
        ("import rawzmtp\n", "import rawzmtp; from rawzmtp import sent_until_cut\n"),
    ],
}
# how many seconds a script gives a server, a browser or a command
WAITS = re.compile(r"(sleep\(|timeout=|timeout_s=|patience_s=|'frame'\), )(\d[^().,]*)(?=[),])")
UNTIMED = {"typo"}  # for scripts in wire/ that do not measure by their waiting
NAME = re.compile(rf"\broam\.viewer\.({'|'.join(MOVED)}) import")


def copied(folder: Path, to: Path, *, slow: int = 1) -> Path:
    """A copy of the scripts that finds its modules from where it lies, and does not stumble where a fault is gone.

    slow: how many times as long the copies wait, except those in wire/ that measure against the clock.
    """
    shutil.copytree(folder, to, copy_function=shutil.copyfile)
    for path in to.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in to.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for was, now in STUMBLES.get(path.stem, []):
            text = text.replace(was, now)
        if slow > 1 and (path.parent.name != "wire" or path.stem in UNTIMED):
            text = WAITS.sub(rf"\g<1>{slow} * (\g<2>)", text)
        path.write_text(NAME.sub(lambda m: f"roam.viewer.{MOVED[m[1]]} import", text), encoding="utf-8")
    return to


def scripts(folder: Path, names: list[str]) -> list[Path]:
    """The scripts of a folder whose names begin with one of these, or all."""
    found = [*sorted(folder.glob("[0-9]*.py")), *sorted((folder / "wire").glob("*.py"))]
    found = [path for path in found if path.stem != "lib"]
    return [path for path in found if not names or any(path.stem.startswith(name) for name in names)]


def run(script: Path, out: Path, limit_s: float) -> tuple[int, str]:
    """A script's exit status, 124 where it took too long, and what it printed."""
    paths = [Path(__file__).parent / "lib", ROOT / "plugins" / "gymnasium_env"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "ROAM_BIN": str(Path(sys.executable).parent / "roam"),
        "WIRE_OUT": str(out),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, script.name, *ARGUMENTS.get(script.stem, [])]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as told,  # what it leaves may hold a pipe
        subprocess.Popen(
            command,
            cwd=script.parent,
            env=environment,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            status = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            status = 124
        finally:
            _end_group(process.pid)  # servers left running by a script that failed
        process.wait()
        told.seek(0)
        return status, told.read()


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="how the names of those to run begin; without any, all")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one script, times --slow")
    parser.add_argument("--slow", type=int, default=1, help="how many times as long to wait, on a busy machine")
    order = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whatever it started is ended as well
    failed = []
    with tempfile.TemporaryDirectory(prefix="roam-cases-") as made:
        folder = copied(order.folder, Path(made) / "scripts", slow=order.slow)
        Path(made).chmod(0o755)  # its process id may now belong to another process
        for script in scripts(folder, order.names):
            began = time.monotonic()
            status, told = run(script, Path(made) / "out", order.limit * order.slow)
            failed += [script.stem] if status else []
            print(f"{script.stem}: exit {status}, {time.monotonic() - began:.0f} s", flush=True)
            print("\n".join(f"    {line[:400]}" for line in told.splitlines()[-8:]), flush=True)
    sys.exit(f"{len(failed)} with another exit than 0: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
