"""A leaderboard made from report files alone: one row a model and report, ordered by the balanced score."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ....world.files import parse_json, read_bytes
from ...reports import keep_text
from .. import VERSION
from ..questions.episode import BenchError

COLUMNS = (
    "model",
    "score",
    "action",
    "fidelity",
    "permanence",
    "stability",
    "imagination",
    "form",
    "questions",
    "weights",
    "run by",
    "date",
    "machine",
    "complete",
)


def leaderboard(reports: Sequence[str | Path], out: str | Path) -> Path:
    """Write leaderboard.csv and .md into `out` from report.json files, or folders that hold one.

    Raises BenchError where reports ask different questions: their rows would not compare.
    """
    held = [_read(path) for path in reports]
    asked = {(data["version"], data["questions"]) for data in held}
    if len(asked) != 1 or held[0]["version"] != VERSION:
        raise BenchError(
            f"reports of different questions or versions: {sorted(asked)}; wanted one set, of version {VERSION}"
        )
    rows = sorted((row for data in held for row in _rows(data)), key=lambda row: -(row["score"] or -1))
    out = Path(out)
    keep_text(out / "leaderboard.csv", _csv(rows))
    return keep_text(out / "leaderboard.md", _markdown(rows))


def _read(path: str | Path) -> dict:
    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    try:
        data = parse_json(read_bytes(path))
        data["balanced"], data["questions"], data["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"{path} is no report ({error!r}); wanted the report.json that `bench consistency report` writes"
        ) from error
    return data


def _rows(data: dict) -> list[dict]:
    complete = (
        "yes" if data["lines"] == data["expected"] and not data["errors"] else f"{data['lines']}/{data['expected']}"
    )
    shared = {
        "form": data["form"],
        "questions": data["questions"],
        "run by": data["note"],
        "date": data["date"],
        "machine": data["machine"],
        "complete": complete,
    }
    return [
        {"model": model, **parts, "weights": data["about"].get(model, {}).get("weights", "-"), **shared}
        for model, parts in data["balanced"].items()
    ]


def _csv(rows: Sequence[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(rows: Sequence[dict]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *["| " + " | ".join(_cell(row[name]) for name in COLUMNS) + " |" for row in rows]]) + "\n"


def _cell(value) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
