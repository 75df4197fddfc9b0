"""The Triton kernels equal their references, proved without a GPU: interpreted.py in a process with the interpreter on."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

pytest.importorskip("triton")

CASES = Path(__file__).with_name("interpreted.py")


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    """Run all cases once; map each test's name to what failed in it, and to "" where it passed."""
    report = tmp_path_factory.mktemp("interpreter") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", f"--junitxml={report}", str(CASES)]
    command.remove("-x")
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=600
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, str] = {}
    for case in xml.parse(report).iter("testcase"):
        name = case.get("name").split("[")[0]
        found[name] = found.get(name, "") + "".join(part.text or "" for part in case if part.tag in ("failure", "error"))
    assert found, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", CASES.read_text(), re.MULTILINE))
def test_in_the_interpreter(name, failures):
    assert failures.get(name) == "", failures.get(name, "did not run")
