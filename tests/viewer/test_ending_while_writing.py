"""Commands that a signal ends while their first file is written, and is to get its name, leave no part of it.

One process reads what commands import, once, and is forked for each.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from roam.scenes.explorer import SceneSession
from roam.scenes.recorder import record
from roam.scenes.splits import make_scene
from roam.world.adaptation.interleave import Interleaving, interleave

from ..world.emu.conftest import write_official
from .test_ending import processes_of

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX"),
    pytest.mark.slow(reason="commands that read models and learn"),
]
FORKING = """
import os, pathlib, signal, sys, tempfile, time
import roam.bench.consistency.run, roam.viewer.cli, roam.world.emu.checkpoint
from roam.viewer.begin import main

replace = os.replace

def held(*_, **__):
    os.replace = replace  # what came before the signal may be kept, with more files
    pathlib.Path("held").touch()
    time.sleep(120)

for line in sys.stdin:
    folder, *arguments = line.rstrip("\\n").split("\\t")
    if child := os.fork():
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what it runs in the background
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup does
    os.chdir(folder)
    os.environ["TMPDIR"], tempfile.tempdir = os.path.join(folder, "tmp"), None
    for number in (0, 1, 2):
        os.dup2(os.open("said" if number else os.devnull, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    os.replace, sys.argv = held, ["roam", *arguments]
    main()
    break
"""
EMU = ["--model", "../model", "--vision-tokenizer", "../vision", "--device", "cpu"]
COMMANDS = {
    "check": ["data", "check", "../recordings", "--out", "out"],
    "replay": ["replay", "../recordings", "--out", "out"],
    "export": ["export", "../walk.roam", "--to", "out/surfaces.glb"],
    "generate": ["generate", "a hall", "--task", "t2i", "--size", "2*3", "--max-tokens", "20", *EMU, "--out", "out"],
    "consistency": ["bench", "consistency", "run", "--form", "tiny", "--tasks", "T1", "--out", "out"],
    "adapt": ["adapt", "--data", "../recordings", "--out", "out", "--steps", "1", "--batch", "2"],
    "tune": ["tune", "sft", "--data", "../examples.jsonl", "--out", "out", "--steps", "1", "--batch", "2"],
}


@pytest.fixture(scope="module")
def forking(tmp_path_factory):
    """A folder with what the commands read, and the process that is forked."""
    folder = tmp_path_factory.mktemp("commands")
    record(folder / "recordings", "train", 2, frames=4)
    interleave(Interleaving(folder / "recordings", folder / "examples.jsonl"))
    write_official(folder, ckpt=False)
    SceneSession(make_scene("test", 3)).save(folder / "walk.roam")
    with subprocess.Popen(
        [sys.executable, "-c", FORKING],
        env={**os.environ, "ROAM_TEST": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as forked:
        yield folder, forked
        forked.stdin.close()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("check", "SIGINT"),
        ("replay", "SIGTERM"),
        ("export", "SIGHUP"),
        ("generate", "SIGTERM"),
        ("consistency", "SIGHUP"),
        ("adapt", "SIGINT"),
        ("tune", "SIGTERM"),
    ],
)
def test_a_command_that_is_ended_while_a_file_gets_its_name_leaves_no_part(forking, name, number):
    folder, forked = forking
    here = folder / name
    (here / "tmp").mkdir(parents=True)
    forked.stdin.write("\t".join((str(here), *COMMANDS[name])) + "\n")
    forked.stdin.flush()
    child, deadline = int(forked.stdout.readline()), time.monotonic() + 120
    while not (here / "held").exists():
        assert Path(f"/proc/{child}").exists() or sys.platform != "linux", (here / "said").read_text()
        assert time.monotonic() < deadline, (here / "said").read_text()
        time.sleep(0.02)
    os.kill(child, getattr(signal, number))
    status, said = int(forked.stdout.readline()), (here / "said").read_text()
    assert status == 128 + getattr(signal, number), said
    assert said.count(f"roam: ended by {number}, before it was done") == 1 and "Traceback" not in said, said
    while sys.platform == "linux" and len(left := processes_of(f"ROAM_TEST={folder}")) > 1:  # the one that is forked
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert not list(here.rglob("*partial*")) and not list((here / "tmp").glob("roam*"))
