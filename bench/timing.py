"""Times and memory of one piece of work, and what a device does at best: a plain copy and a plain product."""

import time
from collections.abc import Callable

import torch
from torch import Tensor


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
    """The peak of what a run allocates, beyond the memory in use before; torch does not count this on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def copy_gb_s(device: torch.device) -> float:
    """Gigabytes a second that a large plain copy reads and writes."""
    source = torch.ones((1 << 30 if device.type == "cuda" else 1 << 26) // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / min(times_ms(lambda: target.copy_(source), device, 0.2)) / 1e6


def product_tflop_s(device: torch.device, dtype: torch.dtype, product: Callable[[Tensor], Callable]) -> float:
    """Operations a second, in units of 1e12, of a large square matrix times itself. product: makes of such a matrix
    what is run."""
    size = 8192 if device.type == "cuda" else 768
    run = product(torch.ones(size, size, device=device, dtype=dtype))
    return 2 * size**3 / min(times_ms(run, device, 0.2)) / 1e9
