"""The losses of group-relative policy optimisation (GRPO; DeepSeekMath, arXiv 2402.03300, section 4.1), over anything
that was drawn from a known distribution: the codes that a denoising step decides, or tokens one after another.

A dream's advantage is its reward compared with the others of its group. Knows nothing of models, pictures or the parts
of rewards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EVEN = 1e-4  # added to a group's deviation, so that nearly equal rewards have no effect


def advantages(rewards: Tensor) -> Tensor:
    """rewards (..., G) of groups -> (..., G): minus the group's mean, divided by its deviation."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True, correction=0) + EVEN)


@dataclass(frozen=True)
class Surrogate:
    """loss: a scalar to be lowered; clipped: the share of what was drawn whose ratio was out of bounds."""

    loss: Tensor
    clipped: float


def surrogate(now: Tensor, before: Tensor, advantage: Tensor, *, clip: float) -> Surrogate:
    """The clipped objective (PPO, arXiv 1707.06347, equation 7), over what was drawn: now and before (M,) its log
    probabilities in nats under the weights that learn and under those that drew it; advantage (M,)."""
    ratio = torch.exp(now - before)
    bounded = ratio.clamp(1 - clip, 1 + clip)
    gain = torch.minimum(ratio * advantage, bounded * advantage)
    return Surrogate(-gain.mean(), float((ratio != bounded).float().mean()))


def divergence_from(start: Tensor, now: Tensor) -> Tensor:
    """KL(now, start) in nats, the divergence penalty: log probabilities (M, V) under the start's weights and under
    those that learn -> scalar. It needs no estimate because whole distributions are known."""
    return (now.exp() * (now - start)).sum(-1).mean()


def estimated_divergence(start: Tensor, now: Tensor) -> Tensor:
    """The same, if only the log probabilities (M,) of what was drawn are known: unbiased and never negative (arXiv
    2402.03300, equation 4)."""
    ahead = start - now
    return (torch.exp(ahead) - ahead - 1).mean()
