"""One id space: text first, then the markers, then the codebook."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vocabulary:
    """The id range of each kind of token: num_text ids for text, then num_markers, the image marker first, then
    num_codes visual ids. The embedded model's other marker is the hole; Emu3.5's others are image start and image
    end."""

    num_text: int
    num_codes: int
    num_markers: int = 2

    @property
    def image(self) -> int:
        """The marker before a frame's first token; its hidden state predicts that token."""
        return self.num_text

    @property
    def hole(self) -> int:
        """Marks a cell of a canvas where nothing is known; never predicted, never part of a frame."""
        return self.num_text + 1

    @property
    def first_code(self) -> int:
        return self.num_text + self.num_markers

    @property
    def size(self) -> int:
        return self.first_code + self.num_codes

    @property
    def visual(self) -> slice:
        """The rows of an embedding or head that belong to codes."""
        return slice(self.first_code, self.size)
