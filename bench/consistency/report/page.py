"""`report`: one HTML page that needs no other file, the same as Markdown, and report.json for leaderboards."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ...reports import keep_text
from ..metrics.definitions import HEADLINE, METRICS
from ..questions.tasks import TASKS
from ..questions.truth import Truth
from ..results import EpisodeResult, Manifest, load_frames, machine, read_lines, read_manifest, today
from .findings import findings, own_models, sanity
from .plots import contact_sheet, draw_drift, draw_gaps, path_from_above, write_picture
from .summary import Cell, Table, balanced, tables
from .verify import questions_of

CAUTION = (
    "Numbers on these scenes compare with no published table: other data, resolution and pose estimator. Mode C shows "
    "the way out and asks for the way back; mode F shows four frames and asks for all else; the two are never mixed. "
    "Brackets are 95 % bootstrap intervals over scenes. Every failure counts as its metric's worst; `!k/n` says how "
    "many did."
)
MODES = {"C": "context shown", "F": "free after four true frames"}
MOST_PLOTTED = 9


def report(folder: str | Path, *, draws: int = 10_000) -> Path:
    """Write report.json, report.md, report.html and pictures/ into a run's folder; returns the HTML page's path."""
    folder = Path(folder)
    manifest, lines = read_manifest(folder), read_lines(folder)
    found = tables(lines, draws=draws)
    pictures = _pictures(folder, manifest, lines, found)
    keep_text(folder / "report.json", json.dumps(_rounded(as_data(manifest, lines, found))))
    keep_text(folder / "report.md", as_markdown(manifest, lines, found, pictures))
    return keep_text(folder / "report.html", as_html(folder, manifest, lines, found, pictures))


def as_data(manifest: Manifest, lines: Sequence[EpisodeResult], found: Sequence[Table]) -> dict:
    """All that a leaderboard or another report needs, and the digests that say what was asked and answered."""
    parts = asdict(manifest)
    parts["questions"] = manifest.digest
    del parts["asked"]
    answered = sorted(f"{line.model} {line.key} {line.frames} {line.error}" for line in lines)
    return {
        **parts,
        "lines": len(lines),
        "expected": len(manifest.asked) * len(manifest.models),
        "errors": sum(bool(line.error) for line in lines),
        "reported": today(),
        "reported_on": machine(),
        "answers": hashlib.sha256("\n".join(answered).encode()).hexdigest()[:16],
        "balanced": {model: balanced([x for x in lines if x.model == model]) for model in manifest.models},
        "findings": {m: findings(m, lines, found) for m in own_models(manifest.models)},
        "sanity": sanity(found),
        "tables": [asdict(table) for table in found],
    }


def _rounded(data):
    """The same with floats rounded to five digits, which keeps reports readable and small."""
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_rounded(value) for value in data]
    return float(f"{data:.5g}") if isinstance(data, float) else data


def as_markdown(
    manifest: Manifest, lines: Sequence[EpisodeResult], found: Sequence[Table], pictures: dict[str, list[str]]
) -> str:
    text = ["# Consistency report", "", _head(manifest, lines), "", CAUTION, ""]
    text += ["## What it shows", "", *[f"- {sentence}" for sentence in _sentences(manifest, lines, found)], ""]
    text += ["## Balanced score", "", *_markdown(*_balance_rows(manifest, lines)), ""]
    text += ["## What the models say of themselves", "", *_markdown(*_about_rows(manifest)), ""]
    for table in found:
        text += [f"## {_title(table)}", "", _question(table.task), "", *_markdown(*_rows(table)), ""]
        text += [f"![{name}]({name})\n*{_caption(name)}*\n" for name in pictures.get(table.task, ())] + [""]
    text += [
        "## What the numbers are",
        "",
        *[f"- **{m.name}** ({_unit(m.name)}): {m.about}" for m in METRICS.values()],
        "",
    ]
    return "\n".join(text)


def as_html(
    folder: Path,
    manifest: Manifest,
    lines: Sequence[EpisodeResult],
    found: Sequence[Table],
    pictures: dict[str, list[str]],
) -> str:
    body = [
        "<h1>Consistency report</h1>",
        f"<p>{html.escape(_head(manifest, lines))}</p>",
        f"<p class=note>{html.escape(CAUTION)}</p>",
    ]
    told = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in _sentences(manifest, lines, found))
    body += ["<h2>What it shows</h2>", f"<ul>{told}</ul>"]
    body += ["<h2>Balanced score</h2>", _html_table(*_balance_rows(manifest, lines))]
    body += ["<h2>What the models say of themselves</h2>", _html_table(*_about_rows(manifest))]
    for table in found:
        body += [
            f"<h2>{_title(table)}</h2>",
            f"<p>{html.escape(_question(table.task))}</p>",
            _html_table(*_rows(table)),
        ]
        body += [_figure(folder / name) for name in pictures.get(table.task, ())]
    about = "".join(f"<li><b>{m.name}</b> ({_unit(m.name)}): {html.escape(m.about)}</li>" for m in METRICS.values())
    body += ["<h2>What the numbers are</h2>", f"<ul>{about}</ul>"]
    return _PAGE.replace("BODY", "\n".join(body))


def text_of(number: Cell | None) -> str:
    """A cell as people read it: mean [low, high], and how many of its frames failed."""
    if number is None or number.interval is None:
        return "-"
    i = number.interval
    spread = "" if i.low is None else f" [{i.low:.2f}, {i.high:.2f}]"
    return f"{i.mean:.2f}{spread}" + (f" !{number.failed}/{number.asked}" if number.failed else "")


def _rows(table: Table) -> tuple[list[str], list[list[str]]]:
    names = [name for name in HEADLINE if any(name in row for row in table.cells.values())]
    names += [
        n
        for n in ("horizon", "drift_slope", "depth_absrel", "step_seconds")
        if any(n in row for row in table.cells.values())
    ]
    head = ["model", *[f"{name} ({_unit(name)})" for name in names]]
    return head, [[model, *[text_of(table.cells[model].get(name)) for name in names]] for model in table.models]


def _balance_rows(manifest: Manifest, lines: Sequence[EpisodeResult]) -> tuple[list[str], list[list[str]]]:
    parts = {model: balanced([x for x in lines if x.model == model]) for model in manifest.models}
    order = sorted(parts, key=lambda model: -(parts[model]["score"] or -1))
    names = ("score", "action", "fidelity", "permanence", "stability", "imagination")
    rows = [[m, *["-" if parts[m][n] is None else f"{parts[m][n]:.3f}" for n in names]] for m in order]
    return ["model", *names], rows


def _about_rows(manifest: Manifest) -> tuple[list[str], list[list[str]]]:
    """Weights, window, cache bytes a frame: of every model that states any."""
    said = {model: about for model, about in manifest.about.items() if about}
    names = list(dict.fromkeys(name for about in said.values() for name in about))
    return ["model", *names], [[model, *[str(about.get(name, "-")) for name in names]] for model, about in said.items()]


def _pictures(
    folder: Path, manifest: Manifest, lines: Sequence[EpisodeResult], found: Sequence[Table]
) -> dict[str, list[str]]:
    """File names by task: curves, and for a kept episode of every task a sheet and a path of each model."""
    names: dict[str, list[str]] = {}
    models = manifest.models[:MOST_PLOTTED]
    for task, draw in (("T6", draw_gaps), ("T9", draw_drift)):
        name = f"pictures/{task}.png"
        if any(table.task == task for table in found) and draw(lines, models, folder / name):
            names.setdefault(task, []).append(name)
    questions = {episode.key: episode for episode in questions_of(manifest)}
    for line in _shown(lines, manifest):
        answers = load_frames(folder, line.model, line.key)
        if answers is None or line.key not in questions:
            continue
        episode = questions[line.key]
        stem = f"pictures/{line.task}-{line.mode}-{''.join(c if c.isalnum() else '-' for c in line.model)}"
        write_picture(folder / f"{stem}-sheet.jpg", contact_sheet(Truth(episode), answers, line.model))
        names.setdefault(line.task, []).append(f"{stem}-sheet.jpg")
        if "found" in line.extra:
            write_picture(folder / f"{stem}-path.png", path_from_above(line, episode))
            names[line.task].append(f"{stem}-path.png")
    return names


def _shown(lines: Sequence[EpisodeResult], manifest: Manifest) -> list[EpisodeResult]:
    """The longest episode of the first scene in every task and mode, of three of the models the report is about."""
    own = own_models(manifest.models)
    best: dict[tuple, EpisodeResult] = {}
    for line in lines:
        if line.model in own[:3] and not line.error:
            place = (line.task, line.mode, line.model)
            if place not in best or (-line.scene, len(line.scored)) > (-best[place].scene, len(best[place].scored)):
                best[place] = line
    return list(best.values())


def _head(manifest: Manifest, lines: Sequence[EpisodeResult]) -> str:
    errors = sum(bool(line.error) for line in lines)
    return (
        f"{_split_note(manifest)}Form {manifest.form}, version {manifest.version}, questions {manifest.digest}; "
        f"{len(lines)} of {len(manifest.asked) * len(manifest.models)} answers, {errors} errors; {manifest.date}, "
        f"{manifest.machine}. {manifest.note}"
    ).strip()


def _split_note(manifest: Manifest) -> str:
    of = f"Levels of {manifest.world}. " if manifest.world else ""
    if manifest.split == "test":
        return of
    return f"NOT A RESULT: scenes of the split '{manifest.split}', to choose by. {of}"


def _sentences(manifest: Manifest, lines: Sequence[EpisodeResult], found: Sequence[Table]) -> list[str]:
    own = [f"{m}: {sentence}" for m in own_models(manifest.models)[:3] for sentence in findings(m, lines, found)]
    return [*sanity(found), *own]


def _caption(name: str) -> str:
    """What a picture shows, by its file's name."""
    if name.endswith("-sheet.jpg"):
        return "Truth above, dream below; numbers count the frames that were asked for."
    if name.endswith("-path.png"):
        return (
            "From above: the commanded path grey, recovered poses and where they look red, a cross where a frame was "
            "asked for and could not be found in the scene."
        )
    return "Means over scenes, bands 95 % bootstrap intervals." if "T6" in name else "Means over the frames of a bin."


def _title(table: Table) -> str:
    return f"{table.task}, mode {table.mode} ({MODES[table.mode]}): {table.episodes} episodes in {table.scenes} scenes"


def _question(task: str) -> str:
    return " ".join((TASKS[task].__doc__ or "").split())


def _unit(name: str) -> str:
    arrow = {"high": "↑", "low": "↓", "one": "→ 1"}[METRICS[name].better]
    return f"{METRICS[name].unit} {arrow}".strip()


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *["| " + " | ".join(row) + " |" for row in rows]]


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<div class=wide><table><tr>{top}</tr>{body}</table></div>"


def _figure(path: Path) -> str:
    words = html.escape(_caption(path.name))
    return f'<figure><img src="{_inline(path)}"><figcaption>{words}</figcaption></figure>'


def _inline(path: Path) -> str:
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Consistency report</title><style>
body{font:15px/1.45 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:13px}
td,th{padding:.25em .6em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left;position:sticky;left:0;background:#fff}.wide{overflow-x:auto}.note{color:#666}
figure{display:inline-block;vertical-align:top;margin:.5em 1em .5em 0}
img{max-width:100%}figcaption{color:#888;font-size:12px}</style><body>
BODY
</body></html>
"""
