"""`roam adapt` in a terminal: shows how far each part is, and says where the checkpoint lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...world.adaptation.run import AdaptOrder


def adapt(order: AdaptOrder) -> None:
    """Adapt, resuming what has begun."""
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    from ...world.adaptation.run import run_adaptation

    console = Console()
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bar:
        tasks = {}

        def show(part: str, share: float, row: dict) -> None:
            if part not in tasks:
                tasks[part] = bar.add_task(part, total=1.0)
            figures = " ".join(f"{key} {value:.3g}" for key, value in row.items() if value == value)
            bar.update(tasks[part], completed=share, description=f"{part} {figures}")

        folder = run_adaptation(order, show=show)
    vision = f" --vision-tokenizer {order.vision}" if order.is_official else ""
    console.print(f"checkpoint: {folder}; walk in it with: roam play --model {folder}{vision}")
