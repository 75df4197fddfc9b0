"""An action log from anyone is read exactly as written, or refused with its line number."""

import json

import pytest
from roam.viewer.play.action_log import ActionLog, LogError, LogWriter, Rewind, Step, load_log
from roam.world.action import parse_action

EVENTS = (Step(parse_action("move forward"), "aa"), Rewind(1, "bb"), Step(parse_action("turn left 30 degrees"), "cc"))
LOG = ActionLog({"seed": 6, "truth": True}, None, "00", EVENTS)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "walk.jsonl"
    LogWriter(path, LOG).close()
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n  \n"])
@pytest.mark.parametrize("kind", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_log_that_an_editor_has_saved_is_the_same_log(path, kind, end):
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", end).encode(kind))
    assert load_log(path) == LOG


@pytest.mark.parametrize(
    "changes",
    [
        {"motion": [1]},
        {"motion": [1, 0, 0, "0"]},
        {"motion": [1, 0, 0, True]},
        {"motion": [1, 0, 0, 0, 0]},
        {"motion": "1000"},
        {"motion": [float("nan"), 0, 0, 0]},
        {"motion": [1e999, 0, 0, 0]},
        {"text": None},
        {"text": 7},
        {"rewind": 1.7},
        {"rewind": "1"},
        {"rewind": True},
        {"motion": None, "at": [1, 2, 3]},
        {"motion": None, "at": [float("nan")] * 7},
    ],
)
def test_a_line_that_says_nearly_a_step_is_refused(path, changes):
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **changes})
    path.write_text("\n".join(lines))
    with pytest.raises(LogError, match="line 2: no step, no rewind"):
        load_log(path)


@pytest.mark.parametrize("line", [b"[" * 100_000, b"\xff\xfe{}", b"", b"{", b"[]"])
def test_what_is_no_log_is_refused_in_a_sentence(path, line):
    path.write_bytes(line)
    with pytest.raises(LogError):
        load_log(path)


def test_a_model_that_is_no_name_is_refused(path):
    head, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(head), "model": ["a"]}), *rest]))
    with pytest.raises(LogError, match="wanted the name of a folder"):
        load_log(path)
