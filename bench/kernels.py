"""Each kernel against what torch offers for the same work: `python -m roam.bench.kernels`.

Every case first checks our result against the float32 reference, then times each way of doing it. A time stands beside
its floor: the larger of bytes over bandwidth and operations over throughput, both measured on this machine by a plain
copy and a plain product. Prints a table and one line of JSON, and writes bench/results/kernels-<machine>.json. On a
CPU it takes the embedded model's sizes, and leaves out torch.compile unless asked: that costs half a minute a case.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..kernels import backend
from ..kernels.attention import PagedHistory, attend, attend_reference
from ..kernels.conv import ServedConv2d, channels_last
from ..kernels.device import has_half_dots
from ..kernels.graph import CapturedStep
from ..kernels.linear import Fp8Linear, linear
from ..kernels.nearest import nearest_code, nearest_code_reference
from ..kernels.norm import rms_norm, rms_norm_reference
from ..kernels.renoise import renoise, renoise_reference, squared_norms
from ..kernels.rope import PageWrite, qk_norm_rope, qk_norm_rope_reference
from ..kernels.sample import head_sample, head_sample_reference
from ..kernels.swiglu import swiglu, swiglu_reference

RESULTS = Path(__file__).parent / "results"


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
# Above this load other work shares the cores, and a median says more about it than about us.
_IDLE_LOAD = 0.5


@dataclass(frozen=True)
class Machine:
    """What runs, and what it does at best: a large copy (read and write) and a large product in the cases' dtype."""

    name: str
    device: str
    torch: str
    backend: str
    threads: int
    load: float
    bandwidth_gb_s: float
    throughput_tflop_s: float


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


@dataclass(frozen=True)
class Measure:
    """One way of one case. spread_ms is the distance between the 10th and the 90th percentile."""

    op: str
    shape: str
    way: str
    median_ms: float
    spread_ms: float
    gb_s: float
    tflop_s: float
    share_of_floor: float
    peak_mb: float | None


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


def attention_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    for N in s.rows:
        q, k, v = (bench.random(1, N, heads, s.head_dim) for heads in (s.heads, s.key_heads, s.key_heads))
        keys_past, values_past = (bench.random(s.pages, s.page_size, s.key_heads, s.head_dim) for _ in "kv")
        table = torch.arange(s.pages, dtype=torch.int32, device=bench.device)[None]
        past = PagedHistory(keys_past, values_past, table, torch.full_like(table[0], s.page_size))
        T = s.pages * s.page_size + N
        ways: Ways = {"ours": partial(attend, q, k, v, past)}
        ways |= bench.with_compiled(_eager_attention, q, k, v, keys_past, values_past, table)
        rows, keys, values = (x.transpose(1, 2) for x in (q, *_gathered(k, v, keys_past, values_past, table)))
        keys, values = keys.contiguous(), values.contiguous()
        ways["sdpa (gathered for free)"] = partial(
            F.scaled_dot_product_attention, rows, keys, values, enable_gqa=s.heads != s.key_heads
        )
        if bench.compiles:
            from torch.nn.attention.flex_attention import flex_attention

            flex = torch.compile(flex_attention, dynamic=False)
            ways["flex (gathered for free)"] = partial(flex, rows, keys, values, enable_gqa=s.heads != s.key_heads)
        yield Case(
            "attention",
            f"{N} rows, {T - N} past, {s.heads}/{s.key_heads} heads of {s.head_dim}",
            _bytes_of(q, q, k, v) + 2 * (T - N) * s.key_heads * s.head_dim * q.element_size(),
            4 * N * T * s.heads * s.head_dim,
            ways,
            matches(ways["ours"], partial(attend_reference, q, k, v, past)),
        )


def _gathered(k, v, k_pages, v_pages, table):
    return [torch.cat([pages[table].flatten(1, 2), fresh], 1) for pages, fresh in ((k_pages, k), (v_pages, v))]


def _eager_attention(q, k, v, k_pages, v_pages, table):
    keys, values = _gathered(k, v, k_pages, v_pages, table)
    group = q.shape[2] // k.shape[2]
    keys, values = (x.repeat_interleave(group, 2).transpose(1, 2) for x in (keys, values))
    scores = q.transpose(1, 2) @ keys.transpose(2, 3) * q.shape[3] ** -0.5
    return (scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ values).transpose(1, 2)


def rope_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    N = s.rows[-1]
    q, k = bench.random(1, N, s.heads, s.head_dim), bench.random(1, N, s.key_heads, s.head_dim)
    weight, cos, sin = bench.random(s.head_dim), bench.random(N, s.head_dim), bench.random(N, s.head_dim)
    slots = torch.arange(N, device=bench.device)[None]
    num_pages = -(-N // s.page_size)
    k_pages, v_pages = bench.random(2, num_pages, s.page_size, s.key_heads, s.head_dim)
    write = PageWrite(k_pages, v_pages, slots)
    run: dict[str, Any] = dict(eps=1e-6, pages=write)
    ways: Ways = {"ours": partial(qk_norm_rope, q, k, k, weight, weight, cos, sin, **run)}
    ways |= bench.with_compiled(_eager_rope, q, k, k, weight, cos, sin, write.k_pages, write.v_pages, slots)
    reference = partial(qk_norm_rope_reference, q, k, k, weight, weight, cos, sin, **run)
    moved = _bytes_of(q, q, k, k, k, k, k, cos, sin)
    yield Case("qk-norm, rope, write", f"{N} rows", moved, 0, ways, matches(ways["ours"], reference))


def _eager_rope(q, k, v, weight, cos, sin, k_pages, v_pages, slots):
    def turned(x):
        normed = weight * (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)
        first, second = normed.chunk(2, -1)
        return normed * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]

    q, k = turned(q), turned(k)
    k_pages.view(-1, *k.shape[2:]).index_copy_(0, slots[0], k[0])
    v_pages.view(-1, *v.shape[2:]).index_copy_(0, slots[0], v[0])
    return q, k


def sample_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    weight = bench.random(s.codes, s.hidden) / s.hidden**0.5
    for N in s.rows:
        hidden, uncond = bench.random(1, N, s.hidden), bench.random(1, N, s.hidden)
        seed = torch.tensor([3], device=bench.device)
        positions = torch.arange(N, device=bench.device)[None]
        guided: dict[str, Any] = dict(uncond=uncond, guidance=3.0, top_k=s.codes // 25)
        for name, options in (("", {}), (", guided, top-k", guided)):
            ours = partial(head_sample, hidden, weight, seed, **options)
            eager = partial(_eager_sample, uncond=options.get("uncond"), top_k=options.get("top_k"))
            ways = {"ours": ours} | bench.with_compiled(eager, hidden, weight)
            run = dict(positions=positions, temperature=1.0) | options
            reference = partial(head_sample_reference, hidden, weight, seed, **run)
            yield Case(
                "head and sampling" + name,
                f"{N} rows, {s.codes} codes of {s.hidden}",
                _bytes_of(hidden, weight),
                2 * N * s.hidden * s.codes,
                ways,
                matches(ours, reference, share=0.99),
            )


def _eager_sample(hidden, weight, *, uncond, top_k):
    logits = (hidden @ weight.t()).float()
    if uncond is not None:
        without = (uncond @ weight.t()).float()
        logits = without + 3.0 * (logits - without)
    probabilities = logits.softmax(-1)
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    noise = -torch.log(-torch.log(torch.rand_like(logits).clamp_(1e-7, 1 - 1e-7)))
    tokens = (logits + noise).argmax(-1)
    return tokens, probabilities.gather(-1, tokens[..., None])[..., 0]


def renoise_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    codebook = F.normalize(bench.random(s.codes, s.code_dim, dtype=torch.float32), dim=1).to(s.dtype)
    squares, seed = squared_norms(codebook), torch.tensor([3], device=bench.device)
    for N in s.rows:
        tokens, beta = bench.tokens(1, N), torch.rand(1, N, device=bench.device) * 20
        positions = torch.arange(N, device=bench.device)[None]
        ways: Ways = {"ours": partial(renoise, tokens, beta, codebook, seed, squares=squares)}
        ways |= bench.with_compiled(_eager_renoise, tokens, beta, codebook)
        reference = partial(renoise_reference, tokens, beta, codebook, seed, positions=positions)
        operations = 2 * N * s.code_dim * s.codes
        gate = matches(ways["ours"], reference, share=0.99)
        yield Case("renoise", f"{N} rows, {s.codes} codes", _bytes_of(codebook, tokens), operations, ways, gate)


def _eager_renoise(tokens, beta, codebook):
    rows = codebook[tokens[0]]
    squares = codebook.float().square().sum(-1)
    distances = squares - 2 * (rows @ codebook.t()).float() + squares[tokens[0], None]
    return torch.multinomial((-beta[0, :, None] * distances).softmax(-1), 1)[None, :, 0]


def elementwise_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    N = s.rows[-1]
    x, residual, weight = bench.random(N, s.hidden), bench.random(N, s.hidden), bench.random(s.hidden)
    ours = partial(rms_norm, x, weight, eps=1e-6, residual=residual)
    ways = {"ours": ours} | bench.with_compiled(_eager_norm, x, residual, weight)
    gate = matches(ours, partial(rms_norm_reference, x, weight, eps=1e-6, residual=residual))
    yield Case("rms_norm and residual", f"{N} x {s.hidden}", _bytes_of(x, x, x, x), 0, ways, gate)
    gate_half, up = bench.random(N, 2 * s.feed_forward).chunk(2, -1)
    ours = partial(swiglu, gate_half, up)
    ways = {"ours": ours} | bench.with_compiled(_eager_swiglu, gate_half, up)
    moved = 3 * gate_half.numel() * gate_half.element_size()
    gate = matches(ours, partial(swiglu_reference, gate_half, up))
    yield Case("swiglu", f"{N} x {s.feed_forward}", moved, 0, ways, gate)
    z, codebook = bench.random(N, s.code_dim), bench.random(s.codes, s.code_dim)
    ours = partial(nearest_code, z, codebook)
    ways = {"ours": ours} | bench.with_compiled(_eager_nearest, z, codebook)
    operations = 2 * N * s.codes * s.code_dim
    gate = matches(ours, partial(nearest_code_reference, z, codebook), share=0.99)
    yield Case("nearest code", f"{N} rows, {s.codes} codes", _bytes_of(z, codebook), operations, ways, gate)


def _eager_norm(x, residual, weight):
    total = x + residual
    wide = total.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype), total


def _eager_swiglu(gate, up):
    return F.silu(gate) * up


def _eager_nearest(z, codebook):
    return (z @ codebook.t()).argmax(-1)


def linear_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    weight = bench.random(s.feed_forward, s.hidden) / s.hidden**0.5
    layer = Fp8Linear.from_weight(weight)
    for N in s.rows:
        x = bench.random(N, s.hidden)
        ways: Ways = {"ours": partial(layer, x), "eager": partial(linear, x, weight)}
        operations = 2 * N * s.hidden * s.feed_forward
        gate = _fp8_gate(layer, x, weight)
        shape = f"{N} x {s.hidden} -> {s.feed_forward}"
        yield Case("fp8 layer", shape, x.numel() + weight.numel(), operations, ways, gate)


def _fp8_gate(layer: Fp8Linear, x: Tensor, weight: Tensor) -> Callable[[], None]:
    def check() -> None:
        exact = x.float() @ weight.float().t()
        error = ((layer(x).float() - exact).norm() / exact.norm()).item()
        assert error < 0.04, f"fp8 is {error:.3f} off"  # 3 bits of mantissa on both sides, averaged over a row

    return check


def conv_cases(bench: Bench) -> Iterator[Case]:
    dtype = bench.sizes.dtype
    for width, side in CONVOLUTIONS:
        conv = torch.nn.Conv2d(width, width, 3, padding=1).to(bench.device)
        x = bench.random(1, width, side, side).to(memory_format=torch.channels_last)
        plain = channels_last(conv.to(dtype))
        ways: Ways = {"ours": partial(ServedConv2d(conv, dtype), x), "eager": partial(plain, x)}
        operations = 2 * side * side * 9 * width * width
        moved = _bytes_of(x, x, plain.weight)
        yield Case(
            "convolution",
            f"{width} channels, {side} x {side}",
            moved,
            operations,
            ways,
            matches(ways["ours"], ways["eager"]),
        )


def graph_cases(bench: Bench) -> Iterator[Case]:
    s = bench.sizes
    x, weight, head = bench.random(1, s.rows[0], s.hidden), bench.random(s.hidden), bench.random(256, s.hidden)
    seed = torch.tensor([3], device=bench.device)

    def step(kind, hidden, seed):
        for _ in range(20):
            hidden = rms_norm(hidden, weight, eps=1e-6)
        return head_sample(hidden, head, seed)[0]

    captured = CapturedStep(step)
    ways: Ways = {"ours": partial(captured, "step", x, seed), "eager": partial(step, "step", x, seed)}
    gate = matches(ways["ours"], ways["eager"], share=1.0)
    yield Case("captured step", f"20 norms and a draw, {s.rows[0]} rows", _bytes_of(x, head), 0, ways, gate)


CASES = {
    "attention": attention_cases,
    "rope": rope_cases,
    "sample": sample_cases,
    "renoise": renoise_cases,
    "elementwise": elementwise_cases,
    "linear": linear_cases,
    "conv": conv_cases,
    "graph": graph_cases,
}


def _bytes_of(*tensors: Tensor) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


def times_ms(run: Callable, device: torch.device, seconds: float) -> list[float]:
    """Times of repeated runs after warming up, each with the caches of the GPU flushed before it."""
    for _ in range(3):
        run()
    times: list[float] = []
    if device.type != "cuda":
        end = time.perf_counter() + seconds
        while len(times) < 5 or (time.perf_counter() < end and len(times) < 1000):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        return times
    flush = torch.empty(256 << 20, dtype=torch.uint8, device=device)
    torch.cuda.synchronize()
    end = time.perf_counter() + seconds
    while len(times) < 10 or (time.perf_counter() < end and len(times) < 1000):
        flush.zero_()
        begun, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        run()
        stop.record()
        stop.synchronize()
        times.append(begun.elapsed_time(stop))
    return times


def peak_mb(run: Callable, device: torch.device) -> float | None:
    """What a run allocates beyond what was there, at its peak; torch does not count this on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def look_at(device: torch.device, sizes: Sizes) -> Machine:
    """Name the machine and measure its copy and its product."""
    cuda = device.type == "cuda"
    source = torch.ones((1 << 30 if cuda else 1 << 26) // 4, device=device)
    target = torch.empty_like(source)
    copy_ms = min(times_ms(lambda: target.copy_(source), device, 0.2))
    size = 8192 if cuda else 768
    square = torch.ones(size, size, device=device, dtype=sizes.dtype)
    product_ms = min(times_ms(lambda: square @ square, device, 0.2))
    return Machine(
        name=torch.cuda.get_device_name(device) if cuda else _cpu_name(),
        device=device.type,
        torch=torch.__version__,
        backend=backend(device),
        threads=torch.get_num_threads(),
        load=os.getloadavg()[0],
        bandwidth_gb_s=2 * _bytes_of(source) / copy_ms / 1e6,
        throughput_tflop_s=2 * size**3 / product_ms / 1e9,
    )


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(case: Case, bench: Bench, machine: Machine) -> Iterator[Measure]:
    """Check the case, then time each way of it."""
    case.check()
    floor_ms = max(case.bytes / machine.bandwidth_gb_s / 1e6, case.operations / machine.throughput_tflop_s / 1e9)
    for way, run in case.ways.items():
        times = times_ms(run, bench.device, bench.seconds)
        median = statistics.median(times)
        tenths = statistics.quantiles(times, n=10)
        yield Measure(
            case.op,
            case.shape,
            way,
            median_ms=median,
            spread_ms=tenths[-1] - tenths[0],
            gb_s=case.bytes / median / 1e6,
            tflop_s=case.operations / median / 1e9,
            share_of_floor=floor_ms / median,
            peak_mb=peak_mb(run, bench.device),
        )


def show(machine: Machine, measures: list[Measure], console: Console) -> None:
    table = Table("op", "shape", "way", "ms", "spread", "GB/s", "TFLOP/s", "of floor", "peak MB")
    last = None
    for m in measures:
        same = (m.op, m.shape) == last
        last = (m.op, m.shape)
        table.add_row(
            "" if same else m.op,
            "" if same else m.shape,
            m.way,
            f"{m.median_ms:.3f}",
            f"{m.spread_ms:.3f}",
            f"{m.gb_s:.1f}",
            f"{m.tflop_s:.3f}",
            f"{m.share_of_floor:.0%}",
            "-" if m.peak_mb is None else f"{m.peak_mb:.1f}",
        )
    console.print(
        f"{machine.name}, torch {machine.torch}, {machine.threads} threads, kernels: {machine.backend}; copies at "
        f"{machine.bandwidth_gb_s:.0f} GB/s, products at {machine.throughput_tflop_s:.2f} TFLOP/s"
    )
    if machine.device == "cpu":
        console.print("No GPU: the sizes are the embedded model's, and 'ours' are the torch references.")
    if machine.device == "cpu" and machine.load > _IDLE_LOAD:
        console.print(f"Load {machine.load:.1f}: something else runs here, so every time is an upper bound.")
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="roam.bench.kernels", description=__doc__.splitlines()[0])
    parser.add_argument("--ops", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=None, help="time spent on each way of each case")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None, help="also torch.compile")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    cuda = device.type == "cuda"
    seconds = chosen.seconds or (1.0 if cuda else 0.3)
    compiles = cuda if chosen.compile is None else chosen.compile
    half = torch.empty(0, dtype=torch.bfloat16, device=device)
    small = replace(SMALL, dtype=torch.bfloat16 if has_half_dots(half) else torch.float32)  # as the engine runs it
    bench = Bench(device, LARGE if cuda else small, compiles, seconds)
    with torch.no_grad():
        machine = look_at(device, bench.sizes)
        measures = [m for op in chosen.ops for case in CASES[op](bench) for m in measure(case, bench, machine)]
    show(machine, measures, Console())
    report = dict(machine=asdict(machine), measures=[asdict(m) for m in measures])
    print(json.dumps(report))
    chosen.results.mkdir(parents=True, exist_ok=True)
    slug = "-".join("".join(c if c.isalnum() else " " for c in machine.name.lower()).split())
    (chosen.results / f"kernels-{slug}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
