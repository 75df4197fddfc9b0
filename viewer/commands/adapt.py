"""`roam adapt` in a terminal: shows the progress of each part, and says where the checkpoint is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bars import stage_bars

if TYPE_CHECKING:
    from ...world.adaptation.run import AdaptOrder


def adapt(order: AdaptOrder) -> None:
    """Adapt a model; continues a run that has begun."""
    from rich.console import Console

    from ...world.adaptation.run import run_adaptation

    console = Console(markup=False, emoji=False)
    with stage_bars(console) as show:
        folder = run_adaptation(order, show=show, say=console.print)
    vision = f" --vision-tokenizer {order.vision}" if order.is_official else ""
    console.print(f"checkpoint: {folder}; walk in it with: roam play --model {folder}{vision}")
