"""Shared by the kernels' tests: running cases in a process of their own, and a chi-square test of draws."""

import math
import os
import subprocess
import sys
import xml.etree.ElementTree as xml
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def run_cases(tmp_path_factory) -> Callable[..., dict[str, str]]:
    """Run a file of cases in a fresh process; map each test's name to what failed in it, "" where nothing did."""

    def run(cases: Path, **environment: str) -> dict[str, str]:
        report = tmp_path_factory.mktemp(cases.stem) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", str(cases)]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=900)
        assert report.exists(), done.stdout + done.stderr
        found: dict[str, str] = {}
        for case in xml.parse(report).iter("testcase"):
            name = case.get("name").split("[")[0]
            failed = "".join(part.text or "" for part in case if part.tag in ("failure", "error"))
            found[name] = found.get(name, "") + failed
        return found

    return run


@pytest.fixture(scope="session")
def follows() -> Callable[[torch.Tensor, torch.Tensor], bool]:
    """Whether draws (any shape) of codes follow probabilities (V,): chi-square within 4 standard deviations."""

    def judge(draws: torch.Tensor, probabilities: torch.Tensor) -> bool:
        expected = probabilities.double() * draws.numel()
        seen = torch.bincount(draws.flatten(), minlength=len(expected)).double()
        assert not seen[probabilities == 0].any(), "a code of probability 0 was drawn"
        rare = expected < 8  # chi-square needs enough counts in a cell: rare codes are pooled into one
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
        seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
        inside = expected > 0
        distance = ((seen - expected).square() / expected)[inside].sum().item()
        freedom = int(inside.sum()) - 1
        # Wilson and Hilferty: the cube root of chi-square over its freedom is close to normal
        spread = 2 / (9 * freedom)
        return ((distance / freedom) ** (1 / 3) - 1 + spread) / math.sqrt(spread) < 4

    return judge
