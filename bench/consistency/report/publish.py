"""The part of a run that goes into a repository: the numbers, the page in Markdown, and pictures of the longest
episodes."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...reports import keep
from ..questions.episode import BenchError

NAMES = ("report.json", "report.md")


def publish(folder: str | Path, target: str | Path) -> int:
    """Copy a reported run's small files into `target`, replacing what an earlier one left; returns their bytes."""
    folder, target = Path(folder), Path(target)
    if missing := [name for name in NAMES if not (folder / name).exists()]:
        raise BenchError(f"{folder} has no {missing[0]}; run `bench consistency report {folder}` first")
    target.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target / "pictures", ignore_errors=True)
    for name in NAMES:
        keep(target / name, (folder / name).read_bytes())
    if (folder / "pictures").is_dir():
        shutil.copytree(folder / "pictures", target / "pictures", copy_function=_copy)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _copy(path: str, copy: str) -> Path:
    return keep(copy, Path(path).read_bytes())
