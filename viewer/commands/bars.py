"""Progress bars in a terminal, one per stage, for work that takes hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ..play.progress import waiting

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def stage_bars(console: Console) -> Iterator[Callable[[str, float, dict], None]]:
    """A function that shows (stage, share done, a dict of figures); each stage gets a bar when it first reports. Until
    the first does, a line says what is being waited for."""
    from rich.progress import Progress, TaskID, TimeElapsedColumn

    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars, ExitStack() as until_first:
        until_first.enter_context(waiting("reading what it begins with"))
        tasks: dict[str, TaskID] = {}

        def show(stage: str, share: float, row: dict) -> None:
            until_first.close()
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            figures = " ".join(f"{key} {value:.3g}" for key, value in row.items() if value == value)
            bars.update(tasks[stage], completed=share, description=f"{stage} {figures}")

        yield show
