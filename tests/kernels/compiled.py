"""Every Triton kernel compiled for Ampere and Hopper without a GPU, and what its machine code must and must not hold.

Collected only by test_triton.py, in a process of its own: a process that has the interpreter on cannot compile.
Kernels are taken from their own launchers with a stand-in driver: constants and alignments are those of a real call.
`make test` compiles each kernel for Hopper, whose tiles are the largest; what is marked slow is the same for Ampere, or
for other sizes and types.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import triton
from roam.kernels import attention, linear, nearest, norm, packed, renoise, rope, sample, swiglu, tiles
from roam.kernels.device import Chip
from roam.kernels.history import PagedHistory
from triton.backends.compiler import GPUTarget

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
BF16 = torch.bfloat16
# Bytes a thread may spill. Drawing needs all 128 registers at 512 threads: Triton 3.7 fits it, 3.9 spills 56
# bytes, once for a whole tile of 128 x 128 products. On Hopper codes in float32, and 4 bits for 32 rows, spill 8.
SPILLS = {"_sample_kernel": 64 if triton.__version__ >= "3.8" else 0, "_nearest_kernel": 8, "_packed_linear_kernel": 8}


class StandInDriver:
    """Stands for a driver: names a target, and gives each target its own device so that no compiled kernel is reused
    for another target."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return self.capability

    def get_current_stream(self, device=None):
        return 0


@dataclass(frozen=True)
class Build:
    """One compiled kernel: its PTX, and what ptxas says of its registers, stack and shared memory."""

    name: str
    ptx: str
    registers: int
    stack_bytes: int
    shared_bytes: int


AMPERE = pytest.param(80, marks=pytest.mark.slow(reason="all kernels are compiled for a second chip"), id="sm_80")
OTHER_SIZES = pytest.mark.slow(reason="the same kernels are compiled once more, for other sizes of their tiles")
IN_FLOAT32 = pytest.param(torch.float32, marks=pytest.mark.slow(reason="the same kernels are compiled in float32"))


@pytest.fixture(params=[AMPERE, pytest.param(90, id="sm_90")])
def target(request, monkeypatch):
    """Turns every launch into a compilation for the target; `target.builds` lists them."""
    triton.runtime.driver.set_active(StandInDriver(request.param))
    kernel_class = triton.runtime.JITFunction
    compile_only = kernel_class.run
    builds = []

    def launch(kernel, *args, grid, warmup, **options):
        builds.append(read_build(kernel.fn.__name__, compile_only(kernel, *args, grid=grid, warmup=True, **options)))

    monkeypatch.setattr(kernel_class, "run", launch)
    for module in (attention, tiles):
        monkeypatch.setattr(module, "chip_of", lambda device: Chip(132, request.param == 90))
    launch.builds, launch.capability = builds, request.param
    return launch


def read_build(name, compiled):
    cubin = Path("/tmp") / f"{compiled.hash}.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    usage = subprocess.run([CUOBJDUMP, "-res-usage", cubin], capture_output=True, text=True, check=True)
    cubin.unlink()
    used = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", usage.stdout + usage.stderr))
    stack = int(used["STACK"]) + int(used["LOCAL"])
    return Build(name, compiled.asm["ptx"], int(used["REG"]), stack, compiled.metadata.shared)


def check(target, *, products=()):
    """Check that nothing spills but what is listed, that shared memory fits the chip, and that the kernels named use
    tensor-core products."""
    largest = {80: 163, 90: 227}[target.capability] * 1024
    assert target.builds
    for build in target.builds:
        allowed = SPILLS.get(build.name, 0)
        assert build.stack_bytes <= allowed, f"{build.name} spills {build.stack_bytes} bytes"
        assert build.shared_bytes <= largest, f"{build.name} wants {build.shared_bytes} bytes of shared memory"
        if build.name in products:
            wanted = "wgmma.mma_async" if target.capability == 90 else "mma.sync.aligned.m16n8k16"
            assert wanted in build.ptx, f"{build.name} has no {wanted}"


@pytest.mark.parametrize(
    "head_dim, causal, pages",
    [
        (128, False, 8),
        (128, True, 8),
        pytest.param(64, False, 8, marks=OTHER_SIZES),
        pytest.param(64, False, 0, marks=OTHER_SIZES),
    ],
)
def test_attention_of_a_whole_canvas(target, head_dim, causal, pages):
    q, k = torch.empty(1, 1024, 64, head_dim, dtype=BF16), torch.empty(1, 1024, 8, head_dim, dtype=BF16)
    attention.attend_triton(q, k, k, history(pages, head_dim), causal=causal)
    check(target, products=["_attend_kernel"])


def test_attention_of_few_rows_is_split(target):
    q, k = torch.empty(1, 8, 64, 128, dtype=BF16), torch.empty(1, 8, 8, 128, dtype=BF16)
    attention.attend_triton(q, k, k, history(32, 128))
    assert [build.name for build in target.builds] == ["_attend_kernel", "_combine_kernel"]
    check(target, products=["_attend_kernel"])


def history(pages, head_dim):
    arrays = torch.empty(max(pages, 1), 1088, 8, head_dim, dtype=BF16)
    table, lengths = torch.zeros(1, pages, dtype=torch.int32), torch.zeros(max(pages, 1), dtype=torch.int32)
    return PagedHistory(arrays, arrays, table, lengths)


@pytest.mark.parametrize(
    "rows, top_k",
    [
        pytest.param(1024, None, marks=pytest.mark.slow(reason="drawing is compiled without a threshold as well")),
        pytest.param(64, None, marks=OTHER_SIZES),
        (1024, 5120),
    ],
)
def test_head_and_sampling(target, rows, top_k):
    hidden, weight = torch.empty(1, rows, 5120, dtype=BF16), torch.empty(131072, 5120, dtype=BF16)
    options = dict(positions=torch.zeros(1, rows, dtype=torch.int64), temperature=1.0, top_k=top_k)
    sample.head_sample_triton(hidden, weight, torch.zeros(1, dtype=torch.int64), **options)
    check(target, products=["_sample_kernel", "_count_kernel"])


@pytest.mark.parametrize("dtype", [BF16, IN_FLOAT32])
def test_renoising(target, dtype):
    codebook, tokens = torch.empty(131072, 256, dtype=dtype), torch.zeros(1, 1024, dtype=torch.int64)
    squares = torch.zeros(131072)
    seed = torch.zeros(1, dtype=torch.int64)
    renoise.renoise_triton(tokens, torch.ones(1, 1024), codebook, seed, positions=tokens, squares=squares)
    check(target, products=["_renoise_kernel"] if dtype == BF16 else [])


@pytest.mark.parametrize("dtype", [BF16, IN_FLOAT32])  # official pictures are read in float32
def test_nearest_code(target, dtype):
    nearest.nearest_code_triton(torch.empty(1024, 256, dtype=dtype), torch.empty(131072, 256, dtype=dtype))
    check(target, products=["_nearest_kernel"] if dtype == BF16 else [])


def test_qk_norm_and_rope(target):
    q, k = torch.empty(1, 1024, 64, 128, dtype=BF16), torch.empty(1, 1024, 8, 128, dtype=BF16)
    weight, angles = torch.empty(128, dtype=BF16), torch.empty(1, 1024, 128)
    pages = torch.empty(8, 1088, 8, 128, dtype=BF16)
    write = rope.PageWrite(pages, pages, torch.zeros(1, 1024, dtype=torch.int64))
    rope.qk_norm_rope_triton(q, k, k, weight, weight, angles, angles, eps=1e-6, pages=write)
    check(target)


def test_rms_norm_and_swiglu(target):
    x = torch.empty(1024, 5120, dtype=BF16)
    norm.rms_norm_triton(x, torch.empty(5120, dtype=BF16), eps=1e-6, residual=x)
    swiglu.swiglu_triton(x, x)
    check(target)


def test_quantising_rows_to_fp8(target):
    if target.capability < 89:
        pytest.skip("Ampere has no fp8")
    linear.quantise_rows_triton(torch.empty(1024, 5120, dtype=BF16))
    check(target)


@pytest.mark.parametrize("bits", [8, 4])
# the 34B model, where queries, keys and values are one product, and gate and up another
@pytest.mark.parametrize(
    "rows, inputs, outputs",
    [
        pytest.param(1, 5120, 51200, marks=OTHER_SIZES),
        pytest.param(32, 5120, 10240, marks=OTHER_SIZES),
        (64, 5120, 51200),
        pytest.param(256, 25600, 5120, marks=OTHER_SIZES),
    ],
)
def test_products_of_packed_weights(target, bits, rows, inputs, outputs):
    groups = torch.empty(outputs, inputs // 128, dtype=BF16)
    weight = packed.Packed(torch.empty(outputs, inputs * bits // 8, dtype=torch.uint8), groups, groups, bits)
    packed.packed_linear_triton(torch.empty(rows, inputs, dtype=BF16), weight)
    check(target)
    assert "mma.sync.aligned.m16n8k16" in target.builds[0].ptx or "wgmma.mma_async" in target.builds[0].ptx
