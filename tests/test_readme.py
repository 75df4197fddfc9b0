"""The README's Python runs unchanged, and its figures are those that the benchmarks wrote.

test_docs.py checks that the commands and files that it names exist.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", TEXT, re.S))
def test_every_snippet_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["frame"].pixels.shape == (128, 128, 3) and (tmp_path / "walk.roam").exists()


def report_of(pattern):
    return json.loads(next((ROOT / "bench" / "results").glob(pattern)).read_text())


def test_its_figures_are_those_that_imagining_left_for_the_weights_that_ship():
    from roam.bench.imagination.quick import markdown
    from roam.world.checkpoint import load_checkpoint

    report = report_of("imagine-test.json")
    assert markdown(report).strip() in TEXT and report["split"] == "test"
    assert report["weights"] == load_checkpoint().digest


def test_the_page_of_figures_has_those_that_the_quick_benchmark_left_for_the_weights_that_ship():
    from roam.bench.quick_report import markdown
    from roam.world.checkpoint import load_checkpoint

    report = report_of("quick-*.json")
    assert markdown(report).strip() in (ROOT / "docs" / "figures.md").read_text()
    assert report["weights"] == load_checkpoint().digest


def test_the_benchmark_page_has_the_table_that_walking_up_to_things_left():
    from roam.bench.approach import markdown

    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert markdown(report_of("approach-dev.json")) in page
