"""`roam tune reward` in a terminal: shows its progress, and each part of the reward before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bars import stage_bars

if TYPE_CHECKING:
    from ...world.adaptation.rewards.answers import AnswerOrder
    from ...world.adaptation.rewards.run import RewardOrder
    from ...world.adaptation.rewards.system import Judge


def tune(order: RewardOrder, judge: Judge) -> None:
    """Tune a model on rewards; continues a run that has begun."""
    from rich.console import Console

    from ...world.adaptation.rewards.run import run_rewards

    console = Console(markup=False, emoji=False)
    with stage_bars(console) as show:
        folder = run_rewards(order, judge, show=show)
    # printed raw: rich would cut wide tables to the terminal
    print((order.out / "report.md").read_text(encoding="utf-8"))
    console.print(f"dreams to look at: {order.out / 'strip.png'}; every step: {order.out / 'run' / 'log.csv'}")
    console.print(f"walk in it with: roam play --model {folder}")


def tune_answers(order: AnswerOrder) -> None:
    """Tune an official model on the scores of its answers; continues a run that has begun."""
    from rich.console import Console

    from ...world.adaptation.rewards.answers import run_answers

    console = Console(markup=False, emoji=False)
    with stage_bars(console) as show:
        folder = run_answers(order, show=show, say=console.print)
    console.print(f"every step: {order.out / 'run' / 'log.csv'}")
    console.print(f"walk in it with: roam play --model {folder} --vision-tokenizer {order.vision}")
