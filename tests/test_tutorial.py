"""docs/tutorial.md, run as written, with smaller numbers."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
SMALL = {"--rollouts": "8", "--keyframes": "8", "--minutes": "0.02"}
BESIDE = {"play": ["--frames", "3", "--headless"], "run": ["--form", "tiny", "--tasks", "T1", "--processes", "1"]}


def commands() -> list[list[str]]:
    """The page's commands, in order, as lists of words."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def made_small(words: list[str]) -> list[str]:
    small = [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    return small + next((more for name, more in BESIDE.items() if name in words[:4]), [])


def test_the_page_tells_every_step():
    said = [words[1] for words in commands()]
    assert said == ["install", "play", "record", "record", "data", "train", "play", "bench", "bench"]
    assert all(words[0] in ("pip", "roam") for words in commands())


@pytest.mark.soak(reason="it records, trains every stage and walks: two minutes")
def test_the_tutorial_runs_as_it_is_written(tmp_path):
    pytest.importorskip("vizdoom", reason="the tutorial walks levels of Doom")
    roam = Path(sys.executable).with_name("roam")
    for words in commands()[1:]:
        done = subprocess.run(
            [roam, *made_small(words)[1:]],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (tmp_path / "runs" / "doom" / "checkpoint" / "model.safetensors").exists()
    assert "T1" in (tmp_path / "runs" / "asked" / "report.md").read_text(encoding="utf-8")
