"""The Triton kernels equal their references; shown without a GPU by running interpreted.py in Triton's interpreter."""

import re
from pathlib import Path

import pytest

pytest.importorskip("triton")

CASES = Path(__file__).with_name("interpreted.py")


@pytest.fixture(scope="module")
def failures(run_cases):
    return run_cases(CASES, TRITON_INTERPRET="1")


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", CASES.read_text(), re.MULTILINE))
def test_in_the_interpreter(name, failures):
    assert failures.get(name) == "", failures.get(name, "did not run")
