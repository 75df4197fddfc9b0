"""Measures what a machine does at best, and how near each way of a case comes to that."""

import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ...kernels import backend
from ..machine import cpu_name
from ..timing import copy_gb_s, peak_mb, product_tflop_s, times_ms
from .case import Bench, Case, Sizes


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


def look_at(device: torch.device, sizes: Sizes) -> Machine:
    """Name the machine and measure its copy and its product."""
    return Machine(
        name=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        device=device.type,
        torch=torch.__version__,
        backend=backend(device),
        threads=torch.get_num_threads(),
        load=os.getloadavg()[0],
        bandwidth_gb_s=copy_gb_s(device),
        throughput_tflop_s=product_tflop_s(device, sizes.dtype, lambda square: lambda: square @ square),
    )


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
