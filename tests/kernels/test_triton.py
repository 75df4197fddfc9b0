"""Without a GPU: the Triton kernels equal their references in Triton's interpreter (interpreted.py), and compile for
the GPUs that will run them, without spills and with tensor-core products (compiled.py).

Each of the two files runs in a process of its own, because a process that has the interpreter on cannot compile. Both
are forked from one that has read torch, so that it is read once.
"""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

pytest.importorskip("triton")

INTERPRETED, COMPILED = (Path(__file__).with_name(name) for name in ("interpreted.py", "compiled.py"))
# Not Triton: whether it interprets is decided as it is imported. The cases use no fixture of a conftest.py.
FORK = """
import os, sys
import numba, pytest, torch
options = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--noconftest", "-m", sys.argv[1]]
for interpret, cases, report in zip("10", sys.argv[2::2], sys.argv[3::2]):
    if os.fork():
        os.wait()
        continue
    os.environ["TRITON_INTERPRET"] = interpret
    os._exit(pytest.main([*options, f"--junitxml={report}", cases]))
"""


@pytest.fixture(scope="module")
def failures(tmp_path_factory, request) -> dict[str, str]:
    """What failed in each case of the two files, "" where nothing did. The slow cases run where -m names them."""
    marks = "slow or not slow" if "slow" in request.config.getoption("-m") else "not slow"
    folder, command = tmp_path_factory.mktemp("triton"), [sys.executable, "-c", FORK, marks]
    for cases in (INTERPRETED, COMPILED):
        command += [str(cases), str(folder / f"{cases.stem}.xml")]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=900)
    found: dict[str, str] = {}
    for cases in (INTERPRETED, COMPILED):
        report = folder / f"{cases.stem}.xml"
        assert report.exists(), done.stdout + done.stderr
        for case in xml.parse(report).iter("testcase"):
            name = f"{cases.stem}: {case.get('name').split('[')[0]}"
            failed = "".join(part.text or "" for part in case if part.tag in ("failure", "error"))
            found[name] = found.get(name, "") + failed
    return found


def names(cases: Path) -> list[str]:
    return re.findall(r"^def (test_\w+)", cases.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", names(INTERPRETED))
def test_in_the_interpreter(name, failures):
    assert failures.get(f"interpreted: {name}") == "", failures.get(f"interpreted: {name}", "did not run")


@pytest.mark.parametrize("name", names(COMPILED))
def test_compiles(name, failures):
    assert failures.get(f"compiled: {name}") == "", failures.get(f"compiled: {name}", "did not run")
