"""Progress bars in a terminal, one per stage, for work that takes hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def stage_bars(console: Console) -> Iterator[Callable[[str, float, dict], None]]:
    """A function that shows (stage, share done, a dict of figures); each stage gets a bar when it first reports."""
    from rich.progress import Progress, TaskID, TimeElapsedColumn

    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, share: float, row: dict) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            figures = " ".join(f"{key} {value:.3g}" for key, value in row.items() if value == value)
            bars.update(tasks[stage], completed=share, description=f"{stage} {figures}")

        yield show
