"""`roam tune reward` in a terminal: shows how far it is, and what every part of the reward was before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bars import stage_bars

if TYPE_CHECKING:
    from ...world.adaptation.rewards.answers import AnswerOrder
    from ...world.adaptation.rewards.run import RewardOrder
    from ...world.adaptation.rewards.system import Judge


def tune(order: RewardOrder, judge: Judge) -> None:
    """Tune on rewards, resuming what has begun."""
    from rich.console import Console

    from ...world.adaptation.rewards.run import run_rewards

    console = Console()
    with stage_bars(console) as show:
        folder = run_rewards(order, judge, show=show)
    print((order.out / "report.md").read_text(encoding="utf-8"))  # as it is: wide tables would be cut to the terminal
    console.print(f"dreams to look at: {order.out / 'strip.png'}; every step: {order.out / 'run' / 'log.csv'}")
    console.print(f"walk in it with: roam play --model {folder}")


def tune_answers(order: AnswerOrder) -> None:
    """Tune an official model on what its answers score, resuming what has begun."""
    from rich.console import Console

    from ...world.adaptation.rewards.answers import run_answers

    console = Console()
    with stage_bars(console) as show:
        folder = run_answers(order, show=show)
    console.print(f"every step: {order.out / 'run' / 'log.csv'}")
    console.print(f"walk in it with: roam play --model {folder} --vision-tokenizer {order.vision}")
