"""What every recipe shares: a folder with a resumable checkpoint, a CSV log and a curve, a schedule of rates, and the
precision of its products."""

from __future__ import annotations

import copy
import csv
import logging
import math
import time
from pathlib import Path
from typing import TypeVar

import torch

from ...kernels.device import has_half_dots

log = logging.getLogger(__name__)

M = TypeVar("M", bound=torch.nn.Module)


class Run:
    """One training run in a folder: `state.pt` (written whole or not at all), `log.csv` and `curve.png`.

    The state holds tensors and numbers only and is read with weights_only, so a foreign file cannot run code.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        self.seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """Training time so far, over all resumptions."""
        return self.seconds_before + time.monotonic() - self.started

    def resume(self) -> dict | None:
        """The state last saved, or None at the start of a run."""
        path = self.folder / "state.pt"
        if not path.exists():
            return None
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.seconds_before = state["seconds"]
        log.info("resuming %s at step %d", self.folder, state["step"])
        return state

    def save(self, step: int, **parts) -> None:
        partial = self.folder / "state.partial"
        torch.save({"step": step, "seconds": self.seconds, **parts}, partial)
        partial.replace(self.folder / "state.pt")

    def record(self, step: int, **values: float) -> None:
        """Append one row to log.csv; a run that is resumed goes on in the same file."""
        path = self.folder / "log.csv"
        is_new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", "seconds", *values])
            writer.writerow([step, round(self.seconds), *(f"{value:.5g}" for value in values.values())])

    def draw(self, *columns: str) -> None:
        """Draw the named columns of log.csv against the step into curve.png."""
        from matplotlib.figure import Figure

        with open(self.folder / "log.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        figure = Figure(figsize=(4 * len(columns), 3), layout="constrained")
        for column, axis in zip(columns, figure.subplots(1, len(columns), squeeze=False)[0], strict=True):
            points = [
                (int(row["step"]), float(row[column])) for row in rows if row.get(column) not in ("", "nan", None)
            ]
            axis.plot(*zip(*points, strict=True))
            axis.set(title=column, xlabel="step")
            axis.grid(alpha=0.3)
        figure.savefig(self.folder / "curve.png", dpi=110)


def learning_rate(step: int, steps: int, peak: float, *, warmup: int = 100, floor: float = 0.02) -> float:
    """Linear warm-up, then half a cosine down to floor * peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def half_products(device: str | torch.device = "cpu") -> torch.autocast:
    """Products in bf16 where the hardware has them, twice as fast; elsewhere a context that changes nothing. Losses,
    optimisers and averages stay in float32 either way."""
    probe = torch.empty(0, dtype=torch.bfloat16, device=device)
    return torch.autocast(probe.device.type, torch.bfloat16, enabled=has_half_dots(probe))


class Average:
    """An exponential moving average of a module's weights (Polyak), started gently so that short runs profit too."""

    def __init__(self, module: torch.nn.Module, decay: float = 0.999):
        self.decay, self.updates = decay, 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        self.updates += 1
        rate = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in module.state_dict().items():
            self.weights[name].lerp_(value, rate) if value.is_floating_point() else self.weights[name].copy_(value)

    def of(self, module: M) -> M:
        """A copy of the module with the average's weights, to measure or to keep."""
        copied = copy.deepcopy(module)
        copied.load_state_dict(self.weights)
        return copied.eval()
