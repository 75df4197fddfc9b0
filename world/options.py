"""Options of a model besides its folder: plain values, which exist before any weights are read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DreamOptions:
    """How unseen places are dreamt; None keeps the model's own value. dream_steps: in how many steps a view is
    dreamt before it is corrected; dream_temperature: how freely, 0 for the likeliest."""

    dream_steps: int | None = None
    dream_temperature: float | None = None

    @property
    def given(self) -> dict[str, int | float]:
        """Those that were given, by their names."""
        said = {"dream_steps": self.dream_steps, "dream_temperature": self.dream_temperature}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class OfficialOptions:
    """Options for an official Emu3.5 folder; None keeps the model's own value.

    vision: the vision tokenizer's folder, which is required; precision: of the weights; context: the most tokens of a
    sequence; area: pixels of the picture that a walk begins with, and so of its frames; turns: how turns of an
    exploration are distinguished (emu/prompts.py); text: the text tokenizer's folder, if it is not found; decoder,
    sampler: how pictures are drawn; devices: how many the model is split over; offload: its layers that stay in main
    memory.
    """

    vision: Path | str | None = None
    precision: str | None = None
    context: int | None = None
    area: int | None = None
    turns: str | None = None
    text: Path | str | None = None
    decoder: str | None = None
    sampler: str | None = None
    devices: int | None = None
    offload: int | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """The names of those that were given."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)

    @property
    def preset(self) -> dict[str, Any]:
        """Those of them that are fields of the task's preset."""
        return {name: getattr(self, name) for name in ("area", "turns", "decoder", "sampler") if name in self.given}
