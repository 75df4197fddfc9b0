"""The machine of a measurement: one line for people, one word for file names; and where figures are stored."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Machine:
    """cpu and gpu as they call themselves; cores that this process may use; versions that decide speed."""

    cpu: str
    cores: int
    gpu: str | None
    python: str
    torch: str
    threads: int

    @staticmethod
    def here() -> Machine:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        return Machine(
            _named_cpu(), cores or 1, gpu, platform.python_version(), torch.__version__, torch.get_num_threads()
        )

    @property
    def slug(self) -> str:
        """A name for result files: letters, digits and dashes."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.gpu or self.cpu} {self.cores} cores".lower()).strip("-")

    def __str__(self) -> str:
        gpu = f", {self.gpu}" if self.gpu else ", no GPU"
        return f"{self.cpu}, {self.cores} cores{gpu}; Python {self.python}, torch {self.torch}, {self.threads} threads"

    def as_dict(self) -> dict:
        return asdict(self)


def cpu_name() -> str:
    """What the processor calls itself."""
    name = re.search(r"model name\s*:\s*(.+)", _cpu_info())
    return name.group(1).strip() if name else platform.processor() or platform.machine()


def _named_cpu() -> str:
    """The processor's name with the vector instructions that matter."""
    flags = set(_cpu_info().split())
    best = next((flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags), "")
    return f"{cpu_name()} {best}".strip()


def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def load_average() -> float:
    """How many processes wanted a core over the last minute, 0 if the system does not say. Above the number of cores,
    times include other programs."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
