"""The numbers that make a model what it is: frozen dataclasses, checked when made, saved with the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

# the largest size of any kind, number of layers, and side; a damaged file that says more would take for ever to load
MOST, MOST_LAYERS, MOST_SIDE = 2**20, 1024, 4096


def check_numbers(config: Any) -> None:
    """Hold every number of a configuration's fields to its kind, which no JSON does: sizes to whole numbers from 0 to
    MOST, others to finite ones. Raises ValueError."""
    for field in fields(config):
        value, kind = getattr(config, field.name), str(field.type)
        for one in value if isinstance(value, tuple) and kind.startswith("tuple") else (value,):
            if "int" in kind and (type(one) is not int or not 0 <= one <= MOST):
                raise ValueError(f"{field.name} is {str(value)[:80]}; wanted whole numbers from 0 to {MOST}")
            if kind == "float" and (type(one) not in (int, float) or not math.isfinite(one)):
                raise ValueError(f"{field.name} is {str(value)[:80]}; wanted a finite number")


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only transformer of Emu3.5's architecture (arXiv 2510.26583, table 1), at any size."""

    vocab_size: int
    hidden_size: int = 192
    intermediate_size: int = 576
    num_hidden_layers: int = 6
    num_attention_heads: int = 6
    num_key_value_heads: int = 2
    head_dim: int = 32
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0

    def __post_init__(self):
        check_numbers(self)
        if self.num_hidden_layers > MOST_LAYERS:
            raise ValueError(f"{self.num_hidden_layers} layers; at most {MOST_LAYERS}")
        if min(self.num_attention_heads, self.num_key_value_heads, self.head_dim, self.hidden_size) < 1:
            raise ValueError(f"{self}: wanted positive sizes")
        if self.num_attention_heads % self.num_key_value_heads or self.head_dim % 2 or self.vocab_size < 1:
            raise ValueError(
                f"{self}: wanted query heads that the key heads divide, an even head size and some vocabulary"
            )


@dataclass(frozen=True)
class LayoutConfig:
    """How a frame and the words that led to it are arranged in a page of the sequence.

    A page holds up to text_capacity words, one image marker and grid[0] * grid[1] codes. Positions are aligned: a
    page's words start at a multiple of page_size and its marker is always at text_capacity, so that the same cell of
    two frames is always the same distance apart, however long the sentences between them. window: how many earlier
    pages a step sees, in training and in service.
    """

    grid: tuple[int, int] = (8, 8)
    text_capacity: int = 15
    window: int = 12

    def __post_init__(self):
        check_numbers(self)
        if min(*self.grid, self.text_capacity, self.window) < 1:
            raise ValueError(f"{self}: wanted positive sizes")

    @property
    def num_cells(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def page_size(self) -> int:
        return self.text_capacity + 1 + self.num_cells


@dataclass(frozen=True)
class PageConfig:
    """Pages of a plain token sequence, cut every page_size tokens; context: the most tokens of a sequence."""

    page_size: int = 128
    context: int = 32_768

    def __post_init__(self):
        if min(self.page_size, self.context) < 1:
            raise ValueError(f"{self}: wanted positive sizes")


@dataclass(frozen=True)
class DidaConfig:
    """Discrete Diffusion Adaptation on the metric path p_t(x | x1) = softmax(-beta_t d(x, x1)) with beta_t = c (t /
    (1-t))^alpha (URSA, arXiv 2510.24717, section 3).

    steps: denoising steps per frame; shift: URSA's time shift of the schedule. warp_level and frame_level: noise level
    t at which a canvas starts, where 0 is pure noise and 1 unchanged, for the covered tokens of a carried view and for
    the previous frame. temperature and step_temperature: of the last denoising step and of those before it. hole_trust
    and carried_trust: how much a carried view counts as evidence besides the model when a token is picked, as the beta
    of a factor softmax(-beta d(v, carried code)), for uncovered cells (filled from their surroundings) and covered
    ones. detail_tolerance: the code distance at which a carried view's own pixels are no longer shown, 0 if they never
    are. dream_steps, dream_temperature and dream_guidance (1 for none, at half the work): for unseen places, if there
    is a painter (dreamer.py); dream_holes: a step is worth it only for so many cells; dream_corrections and
    dream_correction_temperature: further steps, in which decided cells are decided again with all others known
    (transformer/dida.py); dream_continues: whether walls, floors and ceilings are continued as they were seen
    (spatial/planar/continuation.py); dream_chroma: how many times as far from grey painted colours are as the painter
    has them.
    """

    alpha: float = 0.9
    c: float = 3.0
    steps: int = 1
    shift: float = 1.0
    warp_level: float = 1.0
    frame_level: float = 0.5
    temperature: float = 0.0
    step_temperature: float = 1.0
    hole_trust: float = 0.0
    carried_trust: float = 60.0
    detail_tolerance: float = 3.0
    dream_steps: int = 8
    dream_temperature: float = 0.9
    dream_guidance: float = 3.0
    dream_holes: int = 4
    dream_corrections: int = 0
    dream_correction_temperature: float = 0.8
    dream_continues: bool = True
    dream_chroma: float = 1.0

    def __post_init__(self):
        check_numbers(self)
        levels = (self.warp_level, self.frame_level)
        temperatures = (
            self.temperature,
            self.step_temperature,
            self.dream_temperature,
            self.dream_correction_temperature,
        )
        is_hot = min(temperatures) >= 0
        if (
            min(self.steps, self.dream_steps, self.dream_holes) < 1
            or min(self.dream_corrections, self.dream_chroma) < 0
            or not is_hot
            or not all(0 <= level <= 1 for level in levels)
        ):
            raise ValueError(
                f"{self}: wanted at least one step, levels of 0 to 1, and corrections, temperatures, chroma from 0 on"
            )
