"""Processes that work for another end with it: at Ctrl-C, at SIGTERM and when it is killed; they print nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import get_context, util
from pathlib import Path

import pytest
from roam.viewer.ending import Ended, ending_on_signals
from roam.world.side_by_side.processes import Workers, deaf

WAITING = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what it runs in the background
from multiprocessing import get_context
from roam.viewer.ending import ending_on_signals
from roam.world.side_by_side.processes import Workers
from tests.world.test_processes import sleep
if __name__ == "__main__":
    with ending_on_signals(), Workers(2, get_context(sys.argv[1])) as pool:
        for coming in [pool.submit(sleep, sys.argv[2], number) for number in range(9)]:
            coming.result()
"""
ROOT = Path(__file__).parents[2]
needs_groups = pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of POSIX")


def sleep(folder: str, number: int) -> None:
    """Work that is never done; its process leaves its number."""
    (Path(folder) / f"{number}").write_text(str(os.getpid()))
    time.sleep(600)


def echo(value):
    if isinstance(value, Exception):
        raise value
    return value


def is_there(process: str) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:1]
    except OSError:
        return False


def test_a_signal_while_a_pool_begins_ends_it_without_another_error(monkeypatch):
    """Between the line that makes a pool's thread and the one that starts it, a signal once left a pool whose end
    waited for that thread, and raised."""
    start = threading.Thread.start

    def interrupted(thread):
        if "ExecutorManager" in type(thread).__name__:
            signal.raise_signal(signal.SIGTERM)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Ended), ending_on_signals(), Workers(1, get_context("spawn")) as pool:
            pool.submit(echo, 1)
            time.sleep(20)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not multiprocessing.active_children()


@needs_groups
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_process_begins_waits_until_it_is_known(monkeypatch, number):
    """Between the line that begins a process and the one that notes it, a signal left a process that nobody ended."""
    spawn, begun = util.spawnv_passfds, get_context("spawn").Process(target=time.sleep, args=(60,), daemon=True)

    def interrupted(*given):
        made = spawn(*given)
        signal.raise_signal(number)
        return made

    before = {each: signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(Ended), ending_on_signals(), deaf():
            monkeypatch.setattr(util, "spawnv_passfds", interrupted)
            begun.start()
        assert begun in multiprocessing.active_children()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        begun.kill()
        begun.join()


INTERRUPTED = pytest.param("SIGINT", marks=pytest.mark.slow(reason="processes that import, ended by one signal more"))


@needs_groups
@pytest.mark.parametrize("kind", ["spawn", "fork"])
@pytest.mark.parametrize("end", [INTERRUPTED, "SIGTERM", "SIGKILL"])
def test_processes_end_with_the_one_that_began_them_and_say_nothing(tmp_path, kind, end):
    if sys.platform != "linux" and (kind == "fork" or end == "SIGKILL"):
        pytest.skip("of Linux")
    (tmp_path / "work.py").write_text(WAITING)
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "work.py", kind, str(tmp_path)]
    began = subprocess.Popen(
        command, cwd=tmp_path, env=settings, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (written := [path.read_text() for path in tmp_path.glob("[0-9]")])[1:] or "" in written:
        assert began.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    # Ctrl-C goes to all processes of a terminal, the others to one
    os.killpg(began.pid, signal.SIGINT) if end == "SIGINT" else began.send_signal(getattr(signal, end))
    said = began.communicate(timeout=60)[1]
    assert began.returncode == {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}[end]
    assert "Traceback" not in said
    while any(map(is_there, written)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_work_raises_is_raised_and_the_rest_is_dropped():
    with pytest.raises(ValueError, match="no such scene"), Workers(1, get_context("spawn")) as pool:
        first, bad, *rest = [pool.submit(echo, value) for value in (1, ValueError("no such scene"), *range(50))]
        assert first.result() == 1
        bad.result()
    assert any(coming.cancelled() for coming in rest)


def test_a_generator_over_a_pool_that_is_closed_waits_for_nothing(tmp_path):
    def results():
        with Workers(1) as pool:
            yield pool.submit(echo, 3).result()
            yield pool.submit(sleep, str(tmp_path), 1).result()

    coming = results()
    assert next(coming) == 3
    coming.close()
