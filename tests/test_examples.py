"""Every program in examples/ runs unchanged and prints what it should."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SAID = {
    "walk_truth.py": "nearest surface",
    "dream_on.py": "PSNR",
    "fork_and_rewind.py": "a save goes on where it stood: True",
    "serve_and_walk.py": "frame 2 of tcp://",
    "look_aside.py": "once it is dreamt, frame 1",
    "measure_my_model.py": "turn right: PSNR 60.0 dB, SSIM 1.00",
}
# runs in a process of its own, because its server must be able to end it; for the others that would import torch anew
ALONE = "serve_and_walk.py"


def test_every_example_is_tested():
    assert {path.name for path in FOLDER.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", sorted(SAID.keys() - {ALONE}))
def test_an_example_runs_and_says_what_it_shows(name, tmp_path, monkeypatch, capsys):
    arguments = ["2"] if name == "dream_on.py" else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(FOLDER / name), *arguments])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert SAID[name] in capsys.readouterr().out


def test_an_example_that_serves_ends_by_itself(tmp_path):
    run = [sys.executable, str(FOLDER / ALONE)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert SAID[ALONE] in done.stdout
