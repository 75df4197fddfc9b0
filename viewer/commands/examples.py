"""`roam data interleave`, `roam data check FILE.jsonl` and `roam tune sft`: from recordings to examples to weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...world.files import parse_json, read_text
from ..files.outputs import OutputError, unused
from .bars import stage_bars

if TYPE_CHECKING:
    from ...world.adaptation.interleave import Interleaving
    from ...world.adaptation.tuning import TuneOrder


def examples_file(path: Path, *, overwrite: bool) -> Path:
    """Where examples may be written. Raises OutputError."""
    if path.suffix != ".jsonl":
        raise OutputError(f"examples go into a file that ends in .jsonl, for instance {path.with_suffix('.jsonl')}")
    return unused(path, overwrite=overwrite)


def scenes_of(path: Path | None) -> Mapping[str, str]:
    """The words for worlds from a JSON object of them. Raises OutputError."""
    if path is None:
        return {}
    try:
        held = parse_json(read_text(path))
    except ValueError as error:
        raise OutputError(f"{path} is no JSON ({error}); wanted an object from worlds to words") from error
    if not isinstance(held, dict) or not all(isinstance(words, str) for words in held.values()):
        raise OutputError(f"{path} holds no object from worlds to words")
    return held


def interleave(order: Interleaving) -> None:
    """Write examples from recordings, and print how many."""
    from rich.console import Console

    from ...world.adaptation.interleave import interleave as run

    with stage_bars(Console(stderr=True)) as show:
        count, pictures = run(order, progress=lambda done, wanted: show("recordings", done / wanted, {}))
    print(f"{count} examples with {pictures} pictures in {order.out}; look at them with: roam data check {order.out}")


def check_file(path: Path, *, text_tokenizer: Path | None, area: int | None, longest: int) -> bool:
    """Print what is in a file of examples and what is wrong; returns whether nothing is."""
    import numpy as np

    from ...world.adaptation.checking import check_examples
    from ...world.emu.text import EmuTextTokenizer

    words = EmuTextTokenizer.from_folder(text_tokenizer) if text_tokenizer else None
    report = check_examples(path, area=area, longest=longest, text=words)
    tasks = ", ".join(f"{count} {task}" for task, count in sorted(report.tasks.items()))
    print(f"{path}: {report.tasks.total()} examples ({tasks}), {report.pictures} pictures")
    if report.tokens:
        about = "" if words else ", at most: --text-tokenizer counts words"
        middle = int(np.median(report.tokens))
        print(
            f"tokens: {sum(report.tokens)} in all, {min(report.tokens)} to {max(report.tokens)} each, median "
            f"{middle}{about}"
        )
    for fault in report.faults:
        print(f"missing or wrong: {fault}")
    return not report.faults


def tune(order: TuneOrder) -> None:
    """Tune a model; continues a run that has begun."""
    from rich.console import Console

    from ...world.adaptation.tuning import run_tuning

    console = Console(markup=False, emoji=False)
    with stage_bars(console) as show:
        folder = run_tuning(order, show=show, say=console.print)
    vision = f" --vision-tokenizer {order.vision}" if order.is_official else ""
    console.print(f"losses: {order.out / 'run' / 'log.csv'}; walk in it with: roam play --model {folder}{vision}")
