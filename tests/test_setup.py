"""The two commands of the README, and the messages that say what to install."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLS = re.compile(r"pip install[^\n#]*?\broam(?![-.\w/])")  # an unrelated distribution has that name


def test_every_line_that_installs_us_names_our_own_distribution():
    kinds = ("*.py", "*.md", "*.html", "*.gd", "*.cs", "*.toml", "Makefile")
    tops = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in (".venv", "build")]
    paths = [path for kind in kinds for top in tops for path in top.rglob(kind)]
    paths += [path for kind in kinds for path in ROOT.glob(kind)]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    assert sum("roam-worlds[" in text for text in texts.values()) > 10
    assert not [name for name, text in texts.items() if INSTALLS.search(text)]


def commands_of(*arguments: str) -> str:
    """What make would run."""
    ours = ("MAKE", "MFLAGS", "ARGS", "JOBS", "WITHOUT")  # of the make that runs this test
    alone = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = ["make", "-n", *arguments]
    return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
@pytest.mark.parametrize("goal", ["play", "test"])
def test_set_up_tells_what_it_waits_for(goal):
    lines = commands_of("-B", goal, "WARM=none/.warm").splitlines()
    assert lines[0].startswith('echo "Setting up .venv, once:')
    installing = [number for number, line in enumerate(lines) if "pip install" in line]
    assert installing and all("--progress-bar on" in lines[number] for number in installing)
    warming = [number for number, line in enumerate(lines) if "doctor --warm" in line or " none/.warm" in line]
    assert warming and installing[-1] < warming[0]  # by itself, or beside what only tests need
    asked = commands_of("-B", "none/.warm", "WARM=none/.warm").splitlines()
    assert asked[-3].startswith('echo "Compiling what a walk needs') and "doctor --warm" in asked[-2]
    if goal == "play":
        assert lines[-2].startswith('echo "Opening a world;') and lines[-1].strip() == ".venv/bin/roam play"


@pytest.mark.skipif(not shutil.which("make") or not shutil.which("grep"), reason="no make or no grep here")
@pytest.mark.parametrize(
    ("flags", "is_repeated"),
    [("sse4_2 avx2", False), ("avx2 avx512f", True), ("avx2 avx_vnni", True), ("sse4_2", True), (None, True)],
)
def test_avx2_is_tried_where_the_processor_has_more_or_nobody_knows(tmp_path, flags, is_repeated):
    cpu = tmp_path / "cpuinfo"
    if flags:
        cpu.write_text(f"processor : 0\nflags : {flags}\n")
    commands = commands_of("test-isa", f"CPU={cpu}")
    assert ("ATEN_CPU_CAPABILITY=avx2" in commands) == is_repeated
    assert ("has AVX2 and nothing newer" in commands) != is_repeated and "ATEN_CPU_CAPABILITY=default" in commands
