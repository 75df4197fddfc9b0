"""The type check of `make lint`: it refuses typical mistakes between layers, and it leaves out no file."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
WRONG = """\
from pathlib import Path

from roam.viewer.play.player import Player
from roam.world.engine import Engine
from roam.world.frame import Explorer, Frame
from roam.world.pose import Motion
from roam.world.session import Session, SessionEngine
from roam.world.transformer.passes import Passes

wrong_engine: SessionEngine = Player
right_engine: SessionEngine = Engine.from_checkpoint()
missing_field = Frame(index=0)
unknown_field = Motion(forwards=0.3)


def unknown_attribute(session: Session) -> object:
    return session.frame.pixel


def wrong_explorer(passes: Passes) -> Explorer:
    return passes


def wrong_argument(session: Session) -> None:
    session.step("move forward")
"""
REFUSED = {10, 12, 13, 17, 21, 25}  # lines


def test_no_file_is_left_out_of_the_types_and_none_of_ours_goes_unread():
    assert "exclude" not in CONFIG
    for rule in CONFIG["overrides"]:
        assert rule.keys() - {"module"} in ({"ignore_missing_imports"}, {"follow_imports"}), rule  # of other packages
        assert not any(name.startswith("roam") for name in rule["module"]), rule


def test_no_error_is_silenced_for_a_whole_file_or_without_its_name():
    tops = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in (".venv", "build")]
    for path in (*ROOT.glob("*.py"), *(path for top in tops for path in top.rglob("*.py"))):
        if path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"#\s*(?:type:\s*ignore(?!\[)|mypy:)", text), path


@pytest.mark.soak(reason="without its cache mypy reads all of torch's types: a minute")
def test_a_wrong_engine_a_missing_field_and_an_unknown_name_are_refused(tmp_path):
    (tmp_path / "types").mkdir()
    (tmp_path / "types" / "roam").symlink_to(ROOT, target_is_directory=True)
    (tmp_path / "wrong.py").write_text(WRONG)
    run = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "wrong.py")]
    env = os.environ | {"MYPYPATH": str(tmp_path / "types")}
    done = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)
    found = {int(line) for line in re.findall(r"wrong\.py:(\d+): error", done.stdout)}
    assert found == REFUSED, done.stdout + done.stderr
