"""Every Triton kernel compiled for Ampere and Hopper without a GPU, and what its machine code must and must not hold.

Collected only by test_compile.py, in a process of its own: a process that has the interpreter on cannot compile. Kernels
are taken from their own launchers with a stand-in driver, so the constants and alignments are those of a real call.
"""

import re
import subprocess
from pathlib import Path

import pytest
import torch
import triton
from roam.kernels import attention, linear, nearest, norm, renoise, rope, sample, swiglu, tiles
from triton.backends.compiler import GPUTarget

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
BF16 = torch.bfloat16


class Machine:
    """A stand-in for the driver: names a target and says what a large GPU has."""

    def __init__(self, capability):
        self.target = GPUTarget("cuda", capability, 32)
        self.utils = self
        self.binary = None

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0

    def get_device_properties(self, device):
        return dict(max_shared_mem=232448, multiprocessor_count=132, warpSize=32)

    def get_active_torch_device(self):
        return torch.device("cpu")


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def compiled(request, monkeypatch):
    """A list of (kernel name, compiled kernel): launches compile and stop there."""
    triton.runtime.driver.set_active(Machine(request.param))
    found = []

    def launch(kernel, *args, grid, warmup, **options):
        found.append((kernel.fn.__name__, run(kernel, *args, grid=grid, warmup=True, **options)))

    run = triton.runtime.JITFunction.run
    monkeypatch.setattr(triton.runtime.JITFunction, "run", launch)
    for module in (attention, tiles):
        monkeypatch.setattr(module, "num_processors", lambda device: 132)
    found.capability = None if not isinstance(found, list) else None
    yield found
