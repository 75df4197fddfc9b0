"""Whole frames against their floor: `roam bench rollout`, or `python -m roam.bench.rollout`."""
