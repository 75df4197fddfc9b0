"""One piece of work for the kernel benchmark: its sizes, the ways of doing it, and the check that they agree."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    """The shapes of one model at work."""

    rows: tuple[int, ...]
    hidden: int
    feed_forward: int
    heads: int
    key_heads: int
    head_dim: int
    pages: int
    page_size: int
    codes: int
    code_dim: int
    dtype: torch.dtype


LARGE = Sizes((8, 256, 1024, 4096), 5120, 25600, 64, 8, 128, 8, 1088, 131072, 256, torch.bfloat16)  # Emu3.5 34B
SMALL = Sizes((65,), 192, 576, 6, 2, 32, 12, 80, 4096, 4, torch.float32)  # the embedded model
CONVOLUTIONS = ((192, 8), (96, 16), (48, 32))  # channels and pixels a side of its tokenizer's

Ways = dict[str, Callable[[], object]]  # of doing one piece of work, by name


@dataclass(frozen=True)
class Case:
    """One piece of work and the ways of doing it. bytes and operations are the least that any way must move and do."""

    op: str
    shape: str
    bytes: int
    operations: int
    ways: Ways
    check: Callable[[], None]


@dataclass
class Bench:
    """Where and how long to measure, and the random numbers that cases are made of."""

    device: torch.device
    sizes: Sizes
    compiles: bool
    seconds: float
    generator: torch.Generator = field(init=False)

    def __post_init__(self):
        self.generator = torch.Generator(self.device).manual_seed(0)

    def random(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        x = torch.randn(*shape, device=self.device, generator=self.generator)
        return x.to(dtype or self.sizes.dtype)

    def tokens(self, *shape: int) -> Tensor:
        return torch.randint(0, self.sizes.codes, shape, device=self.device, generator=self.generator)

    def with_compiled(self, eager: Callable, *inputs) -> Ways:
        """An eager way, and the same through torch.compile where it is asked for."""
        ways: Ways = {"eager": partial(eager, *inputs)}
        if self.compiles:
            ways["torch.compile"] = partial(torch.compile(eager, dynamic=False), *inputs)
        return ways


def matches(ours: Callable, reference: Callable, *, share: float | None = None) -> Callable[[], None]:
    """A gate: numbers within the rounding of bf16 of the reference's, or at least `share` of tokens the same."""

    def check() -> None:
        got, want = (x if isinstance(x, tuple) else (x,) for x in (ours(), reference()))
        for a, b in zip(got, want, strict=True):
            if share is None:
                torch.testing.assert_close(a.float(), b.float(), rtol=3e-2, atol=3e-2)
            elif not a.is_floating_point():
                same = (a == b).float().mean().item()
                assert same >= share, f"only {same:.4f} of the tokens are the reference's"

    return check


def bytes_of(*tensors: Tensor) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)
