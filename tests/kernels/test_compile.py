"""The Triton kernels compile for the GPUs that will run them, without spills and with tensor-core products.

Runs compiled.py in a process of its own, because a process that has Triton's interpreter on cannot compile.
"""

import re
from pathlib import Path

import pytest

pytest.importorskip("triton")

CASES = Path(__file__).with_name("compiled.py")


@pytest.fixture(scope="module")
def failures(run_cases):
    return run_cases(CASES, TRITON_INTERPRET="0")


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", CASES.read_text(), re.MULTILINE))
def test_compiles(name, failures):
    assert failures.get(name) == "", failures.get(name, "did not run")
