"""The runner of case scripts (tests/cases/run.py) says how each script ended, and ends what one leaves running."""

import socket
import time
from pathlib import Path

import pytest

from .cases import run
from .cases.lib.patience import answered


def folder_of(tmp_path: Path, **scripts: str) -> Path:
    folder = tmp_path / "scripts"
    (folder / "wire").mkdir(parents=True)
    for name, text in scripts.items():
        (folder / "wire" / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def test_a_script_is_told_of_by_how_it_ended(tmp_path):
    folder = folder_of(tmp_path, right="print('HELD')", wrong="raise SystemExit('BROKEN')", lib="raise SystemExit(3)")
    told = {path.stem: run.run(path, tmp_path / "out", 60.0) for path in run.scripts(folder, [])}
    assert told == {"right": (0, "HELD\n"), "wrong": (1, "BROKEN\n")}


def test_a_line_that_breaks_because_a_fault_is_gone_is_mended_on_the_copy_alone(tmp_path):
    text = "f = None\nlost = not f['pose']; print(lost)\n"
    folder = folder_of(tmp_path, typo=text)
    copy = run.copied(folder, tmp_path / "copy")
    assert run.run(copy / "wire" / "typo.py", tmp_path / "out", 60.0) == (0, "False\n")
    assert (folder / "wire" / "typo.py").read_text(encoding="utf-8") == text
    assert run.run(folder / "wire" / "typo.py", tmp_path / "out", 60.0)[0] == 1


def test_on_a_busy_machine_a_script_waits_longer_for_others_and_no_longer_for_itself(tmp_path):
    text = "time.sleep(12 if a else 6); go(timeout=5); go(timeout_s=8, seed=3); sleep(0.2); range(7)"
    folder = folder_of(tmp_path, measures=text, typo="c.get(lambda m: m['type'] in ('receipt', 'frame'), 10)")
    (folder / "01_waits.py").write_text(text)
    copy = run.copied(folder, tmp_path / "copy", slow=4)
    assert (copy / "wire" / "measures.py").read_text() == text
    assert (copy / "wire" / "typo.py").read_text().endswith("'frame'), 4 * (10))")
    assert (copy / "01_waits.py").read_text() == (
        "time.sleep(4 * (12 if a else 6)); go(timeout=4 * (5)); go(timeout_s=4 * (8), seed=3); sleep(0.2); range(7)"
    )


def test_a_server_is_waited_for_until_it_is_there_and_not_for_a_fixed_time(tmp_path):
    folder = folder_of(tmp_path)
    sleeps = 'import contextlib, os, time\ntime.sleep(12 if "--truth" not in args else 6)\n'
    (folder / "common.py").write_text(sleeps.replace("import", "args = ('--page-port', '1')\nport = 2\nimport", 1))
    copy = (run.copied(folder, tmp_path / "copy", slow=4) / "common.py").read_text()
    assert copy.endswith("time\nanswered(port, *args)\n") and "from patience import answered; import contextlib" in copy


def test_both_ports_of_a_server_are_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as page:
        answered(there.getsockname()[1], "--page-port", str(page.getsockname()[1]), within_s=30)
        for listening in (there, page):
            listening.settimeout(30)
            listening.accept()[0].close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="nobody here can see whether a process runs")
def test_a_server_that_a_failed_script_leaves_running_is_ended(tmp_path):
    text = "import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']"
    folder = folder_of(tmp_path, leaves=text + ").pid)\n1 / 0\n")
    status, told = run.run(folder / "wire" / "leaves.py", tmp_path / "out", 60.0)
    pid = int(told.split()[0])
    assert status == 1
    end = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
