"""Progress bars for work that takes minutes or hours: in a terminal they are drawn, and in a log file or a pipe a line
comes now and then, so that both show that the work goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID, TimeElapsedColumn

from ..play.progress import telling, waiting


class Bars(Progress):
    """Progress of rich, which prints nothing before the end where the console is no terminal. There the newest task is
    told in a line on the error stream, whether it has made progress or not."""

    def __init__(self, *columns: str | ProgressColumn, console: Console | None = None, **more: Any):
        super().__init__(*columns, console=console, **more)
        self._lines = ExitStack()

    def start(self) -> None:
        super().start()
        if not self.console.is_terminal:
            self._lines.enter_context(telling(self._line))

    def stop(self) -> None:
        self._lines.close()
        super().stop()

    def _line(self, since_s: float) -> str:
        return _told(self.tasks[-1], since_s) if self.tasks else ""


def _told(task: Task, since_s: float) -> str:
    """A task in words: parts of a whole as per cent, other things as numbers."""
    if task.total is None:
        said = f"{task.description} ..."
    elif task.total == 1:
        said = f"{task.description}: {task.percentage:.0f} %,"
    else:
        said = f"{task.description}: {task.completed:g} of {task.total:g},"
    return f"{said} {since_s:.0f} s" if since_s else said.rstrip(",")


@contextmanager
def stage_bars(console: Console) -> Iterator[Callable[[str, float, dict], None]]:
    """A function that shows (stage, share done, a dict of figures); each stage gets a bar when it first reports. Until
    the first does, a line says what is being waited for."""
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Bars(*columns, console=console) as bars, ExitStack() as until_first:
        until_first.enter_context(waiting("reading what it begins with"))
        tasks: dict[str, TaskID] = {}

        def show(stage: str, share: float, row: dict) -> None:
            until_first.close()
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            figures = " ".join(f"{key} {value:.3g}" for key, value in row.items() if value == value)
            bars.update(tasks[stage], completed=share, description=f"{stage} {figures}")

        yield show
