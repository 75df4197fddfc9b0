"""Which implementation a device gets, and Triton as an optional import.

The kernel files take `triton` and `tl` from here. Where Triton is not installed, or nothing would run it, both are
stand-ins that let the kernel definitions be read without being usable, so the package imports and the references run
anywhere.
"""

import contextlib
import os
import platform
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch

HAS_TRITON = find_spec("triton") is not None

# Importing Triton takes a third of a second, and a walk on a CPU does not need it. To use its interpreter or its
# compiler on a CPU, import triton before this package.
if HAS_TRITON and (torch.cuda.is_available() or "triton" in sys.modules):
    import triton
    import triton.language as tl
else:

    class _NoTriton:
        """Stands for a module: decorators return what they are given, every other name is None."""

        constexpr = staticmethod(lambda value=None: value)

        @staticmethod
        def jit(function=None, **_):
            return function if function is not None else lambda inner: inner

        def __getattr__(self, name: str) -> None:
            return None

    triton = tl = cast(Any, _NoTriton())

__all__ = [
    "HAS_TRITON",
    "Chip",
    "NoDeviceError",
    "backend",
    "block_of",
    "chip_of",
    "device_named",
    "dot_precision",
    "has_half_dots",
    "leave_a_core",
    "needs_grad",
    "tl",
    "triton",
]


def _is_intel() -> bool:
    with contextlib.suppress(OSError):
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return "GenuineIntel" in platform.processor()  # what Windows says


# MKL sums a row in another order where there are fewer rows: below 16 with AVX-512, in nearly any number with AVX2. In
# its strict mode a row's bits depend on that row alone, at no cost that could be measured. It reads this at its first
# product, so a program that has multiplied before it imports this package has to say so itself.
if _is_intel():
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


class NoDeviceError(ValueError):
    """A device that is not here, or not one that Roam runs on; the message says which are."""


def device_named(name: str) -> str:
    """A device as a person names it: cpu, cuda, or cuda:1 and so on. Raises NoDeviceError for one that is not here."""
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise NoDeviceError(f"a device called '{name}'; wanted cpu, or cuda for a GPU")
    if kind == "cuda" and not torch.cuda.is_available():
        why = "its driver shows none (nvidia-smi says more)"
        if not torch.backends.cuda.is_built():
            why = f"torch {torch.__version__} was built without it: install one with CUDA, from pytorch.org"
        raise NoDeviceError(f"no CUDA device here, for {why}; or use --device cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise NoDeviceError(
            f"a device called '{name}', and the GPUs here are numbered to {torch.cuda.device_count() - 1}"
        )
    return name


def backend(device: torch.device | str) -> str:
    """Say which implementation tensors on `device` take: "triton" on CUDA where it is installed, else "reference"."""
    return "triton" if torch.device(device).type == "cuda" and HAS_TRITON else "reference"


def needs_grad(*tensors: torch.Tensor | None) -> bool:
    """Whether a gradient will be asked for: the kernels have no backward pass, the references do."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def has_half_dots(tensor: torch.Tensor) -> bool:
    """Whether products in this tensor's 16-bit dtype are fast where it lies; a CPU without them is 20 times slower.

    oneDNN asks the CPU itself, even if torch is held to the instructions of an older one (`make test-isa`); then what
    torch says decides. On AVX-512 without bf16 products oneDNN supports bf16, but several times slower than float32.
    """
    if tensor.device.type != "cpu" or tensor.dtype == torch.float32:
        return True
    if tensor.dtype != torch.bfloat16 or _is_held_back():
        return False
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    return not torch.cpu._is_avx512_supported() or torch.cpu._is_avx512_bf16_supported()


def _is_held_back() -> bool:
    """Whether this CPU has AVX-512 and ATEN_CPU_CAPABILITY forbids its use."""
    return torch.cpu._is_avx512_supported() and not torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def leave_a_core() -> None:
    """Keep torch off one of the cores that this process may use, if it would take them all. If it was set to fewer
    threads, that stays.

    Threads of one product wait for each other: if another process or a window uses a core, the whole step waits.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.get_num_threads() >= cores > 1:
        torch.set_num_threads(cores - 1)


def dot_precision(dtype: torch.dtype) -> str:
    """Triton's name for the products of a dtype: float32 stays float32, where its default would be tf32."""
    return "ieee" if dtype == torch.float32 else "tf32"


@dataclass(frozen=True)
class Chip:
    """What the choice of tiles asks about: multiprocessors to keep busy, and whether their tiles may be large."""

    num_processors: int
    is_large: bool  # 228 KiB of shared memory and products by groups of four warps: Hopper, data-centre Blackwell


def chip_of(device: torch.device) -> Chip:
    """The chip behind a CUDA device; for a CPU, where only the interpreter runs kernels, a chip of one processor."""
    if device.type != "cuda":
        return Chip(1, True)
    found = torch.cuda.get_device_properties(device)
    return Chip(found.multi_processor_count, found.major in (9, 10))


def block_of(size: int, *, smallest: int = 16, largest: int = 1 << 20) -> int:
    """The power of two that covers `size`, held between two powers of two."""
    return min(largest, max(smallest, 1 << max(0, size - 1).bit_length()))
