"""What every recipe shares: a folder with a resumable checkpoint, a CSV log and a curve, a schedule of rates, and
the precision of products."""

from __future__ import annotations

import copy
import csv
import io
import logging
import math
import time
import zipfile
from pathlib import Path
from typing import TypeVar

import torch

from ...kernels.device import has_half_dots
from ..files import whole

log = logging.getLogger(__name__)

M = TypeVar("M", bound=torch.nn.Module)


class StateError(ValueError):
    """A state of a run that cannot be read or kept; the message says what to do."""


class Run:
    """One training run in a folder: `state.pt` (written completely or not at all), `log.csv` and `curve.png`.

    The state holds tensors and numbers only and is read with weights_only, so a foreign file cannot run code. part_mb:
    if above 0, the state is stored in `state-K-of-N.SAVE.part` of at most so many MB each, in half precision.
    """

    def __init__(self, folder: str | Path, *, part_mb: int = 0):
        self.folder, self.part_mb = Path(folder), part_mb
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        self.seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """Training time so far, over all resumptions."""
        return self.seconds_before + time.monotonic() - self.started

    def resume(self) -> dict | None:
        """The state last saved, or None at the start of a run. Raises StateError."""
        state = read_state(self.folder)
        if state is None:
            return None
        self.seconds_before = state["seconds"]
        log.info("resuming %s at step %d", self.folder, state["step"])
        return state

    def save(self, step: int, **parts) -> None:
        state = {"step": step, "seconds": self.seconds, **parts}
        try:
            if self.part_mb:
                _write_parts(self.folder, halved(state), self.part_mb * 1_000_000)
                return
            with whole(self.folder / "state.pt") as partial:
                torch.save(state, partial)
        except (OSError, RuntimeError) as error:  # on a full disk torch raises RuntimeError as well
            raise StateError(
                f"the state of {self.folder} cannot be kept ({str(error).splitlines()[0]}); what was kept before "
                "stays: make room, and the same command goes on"
            ) from error

    def record(self, step: int, **values: float) -> None:
        """Append one row to log.csv; a resumed run continues the same file."""
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
        wide = 4 * len(columns)
        figure = Figure(figsize=(wide, 3))
        # margins in inches; letting matplotlib find them would draw everything twice
        figure.subplots_adjust(left=0.6 / wide, right=1 - 0.2 / wide, bottom=0.5 / 3, top=1 - 0.35 / 3, wspace=0.25)
        for column, axis in zip(columns, figure.subplots(1, len(columns), squeeze=False)[0], strict=True):
            points = [
                (int(row["step"]), float(row[column])) for row in rows if row.get(column) not in ("", "nan", None)
            ]
            axis.plot(*zip(*points, strict=True))
            axis.set(title=column, xlabel="step")
            axis.grid(alpha=0.3)
        with whole(self.folder / "curve.png") as partial:
            figure.savefig(partial, dpi=110, format="png")


def has_state(folder: Path) -> bool:
    """Whether a run left a state in a folder, be it damaged or short of a part."""
    return (folder / "state.pt").exists() or bool(_parts(folder))


def read_state(folder: Path) -> dict | None:
    """The state that a run left in a folder, in one file or in parts; None if there is none. Raises StateError if a
    part is missing, or a bit has changed."""
    if (folder / "state.pt").exists():
        return _loaded(folder / "state.pt", folder)
    if not (states := _parts(folder)):
        return None
    for parts in states:  # of a newer one that was cut off, the one before it is whole
        if len(parts) == _count(parts[0]):
            return _loaded(io.BytesIO(b"".join(part.read_bytes() for part in parts)), folder)
    newest = states[0]
    raise StateError(f"{folder} has {len(newest)} of {_count(newest[0])} parts of a state; bring the missing ones")


def _loaded(file: Path | io.BytesIO, folder: Path) -> dict:
    try:
        with zipfile.ZipFile(file) as archive:
            if damaged := archive.testzip():  # torch writes checksums, and does not compare them when it reads
                raise StateError(f"{damaged} is not what was written")
        if isinstance(file, io.BytesIO):
            file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch and zipfile raise errors of every kind
        raise StateError(
            f"the state in {folder} is damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
            "bring a copy of it, or remove it to begin anew"
        ) from error


def halved(state):
    """A state whose float32 tensors are in 16 bits: weights in float16, optimiser states in bfloat16, for its range.
    One rounding in many minutes of steps is less than a step."""
    if isinstance(state, dict):
        return {
            name: _cast(part, torch.bfloat16) if name == "optimizers" else halved(part) for name, part in state.items()
        }
    return _cast(state, torch.float16)


def _cast(part, dtype: torch.dtype):
    if isinstance(part, dict):
        return {name: _cast(value, dtype) for name, value in part.items()}
    if isinstance(part, list):
        return [_cast(value, dtype) for value in part]
    is_wide = isinstance(part, torch.Tensor) and part.dtype == torch.float32 and part.ndim > 0
    return part.to(dtype) if is_wide else part


def _write_parts(folder: Path, state: dict, size: int) -> None:
    file = io.BytesIO()
    torch.save(state, file)
    data = file.getbuffer()
    count = -(-len(data) // size)
    before = [part for parts in _parts(folder) for part in parts]
    number = max((_save(part) for part in before), default=0) + 1
    written = [folder / f"state-{k:03d}-of-{count:03d}.{number}.part" for k in range(count)]
    try:
        for k, path in enumerate(written):
            with whole(path) as partial:
                partial.write_bytes(data[k * size : (k + 1) * size])
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    for path in before:  # not until the new one is whole
        path.unlink()


def _parts(folder: Path) -> list[list[Path]]:
    """The parts of each state in a folder, the newest state first."""
    paths = sorted(folder.glob("state-*-of-*.part"))
    numbers = sorted({_save(path) for path in paths}, reverse=True)
    return [[path for path in paths if _save(path) == number] for number in numbers]


def _save(part: Path) -> int:
    """The number of the save to which a part belongs; 0 if its name has none, as in earlier versions."""
    number = part.stem.partition(".")[2]
    return int(number) if number.isdecimal() else 0


def _count(part: Path) -> int:
    """How many parts the state has of which this is one."""
    return int(part.name.partition(".")[0].rpartition("-")[2])


def learning_rate(step: int, steps: int, peak: float, *, warmup: int = 100, floor: float = 0.02) -> float:
    """Linear warm-up, then half a cosine down to floor * peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def half_products(device: str | torch.device = "cpu", *, keeps_weights: bool = True) -> torch.autocast:
    """Products in bf16 where the hardware has them, twice as fast; elsewhere a context without effect. Losses,
    optimisers and averages stay in float32 in both cases. keeps_weights: keep their bf16 copies until the context
    ends; sharded weights are whole for a moment only, and their copies would be the whole model."""
    probe = torch.empty(0, dtype=torch.bfloat16, device=device)
    kind, is_half = probe.device.type, has_half_dots(probe)
    return torch.autocast(kind, torch.bfloat16, enabled=is_half, cache_enabled=keeps_weights)


class Average:
    """An exponential moving average of a module's weights (Polyak), which starts with a short memory so that short
    runs profit too."""

    def __init__(self, module: torch.nn.Module, decay: float = 0.999):
        self.decay, self.updates = decay, 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        self.updates += 1
        rate = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = module.state_dict()
        moving = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in moving], [now[name] for name in moving], rate)
        for name in now.keys() - set(moving):
            self.weights[name].copy_(now[name])

    @torch.no_grad()
    def take(self, weights: dict[str, torch.Tensor]) -> None:
        """Load an average that was saved, from any device and in any precision."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

    def of(self, module: M) -> M:
        """A copy of the module with the average's weights."""
        copied = copy.deepcopy(module)
        copied.load_state_dict(self.weights)
        return copied.eval()
