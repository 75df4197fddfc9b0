"""`roam doctor`: what is installed, what is missing, and the command that fixes it. Repairs nothing by itself."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...world.files import why_damaged
from ..play.open3d_loading import MEND_LINUX, why_not_open3d
from ..play.progress import counted

if TYPE_CHECKING:
    from ...world.spatial.view_memory import ViewMemory

_PYGAME_REPAIR = "pip uninstall -y pygame pygame-ce && pip install pygame-ce"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: the result, and what to do if something is missing.

    is_needed: whether walking through a dream is impossible without it.
    """

    name: str
    found: str
    mend: str = ""
    is_needed: bool = False

    @property
    def is_missing(self) -> bool:
        return bool(self.mend)


def examine(*, missing: str | None) -> list[Finding]:
    """Check everything that Roam can use. Imports torch, and opens no window. missing: why no window can be opened,
    or None."""
    checks: list[Callable[[], Finding]] = [
        _python,
        lambda: _package("torch", "pip install torch", is_needed=True),
        _triton,
        _pygame,
        lambda: _package("numba", "pip install numba", is_needed=True),
        lambda: _package("av", "pip install av", is_needed=True),
        _open3d,
        lambda: _display(missing),
        _cuda,
        _bf16,
        _backend,
        _weights,
        _cache,
        _home,
    ]
    return [check() for check in checks]


def report(findings: list[Finding]) -> bool:
    """Print the findings as a table, and say whether a dream can be walked through."""
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("", "part", "found", "to mend"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        mark = "[green]ok" if not finding.is_missing else ("[red]missing" if finding.is_needed else "[yellow]without")
        table.add_row(mark, finding.name, escape(finding.found), escape(finding.mend))
    console = Console()
    console.print(table)
    broken = [finding.name for finding in findings if finding.is_needed and finding.is_missing]
    can_run = not broken
    console.print("`roam play` can run." if can_run else f"`roam play` cannot run: mend {', '.join(broken)}.")
    return can_run


def warm_up() -> None:
    """Walk a little and turn round in every kind of world, look from another pose, forget a view, and put one in the
    place of another. The code that this compiles is cached, so that neither the next start nor a later walk waits."""
    from ...world.action import parse_action
    from ...world.pose import Motion
    from ...world.session import Session
    from ..opening.start import Opener, Start

    starts = [Start(truth=True, family="rooms"), Start(truth=True, family="outdoors")]
    if not _weights().is_missing:
        starts += [Start(family=family) for family in ("rooms", "outdoors")]
    for start in counted(starts, "compiling what a walk needs, kinds of worlds", len(starts)):
        explorer = Opener().open(start).explorer
        for text in ("move forward", "step back 0.5 metres", *["turn left 45 degrees"] * 7):
            explorer.step(parse_action(text))
        pose = explorer.frame.pose
        if isinstance(explorer, Session) and pose is not None:
            explorer.look(pose.moved(Motion(right=0.2)), ipd_m=0.06)
            _overfill(explorer.memory)
            _pass_by(explorer.memory)
        explorer.close()
    _repeat()


def _overfill(memory: ViewMemory) -> None:
    """Remember the same views in a memory for one view: what a long walk does once its memory is full."""
    from ...world.spatial.view_memory import ViewMemory

    small = ViewMemory(memory.camera, limit=1)
    for index, view in memory.items():
        small = small.with_view(index, view)


def _pass_by(memory: ViewMemory) -> None:
    """Let a view stand in for an older one of the same: what a walk does that comes near to what it dreamt."""
    import numpy as np

    from ...world.pose import Motion
    from ...world.spatial.anew import StandsIn, not_through
    from ...world.spatial.horizon import GROUND_M

    (_, view), *_ = memory.items()
    far = replace(view, depth=np.full_like(view.depth, GROUND_M + 1), fresh=np.ones(view.depth.shape, bool))
    near = replace(far, pose=far.pose.moved(Motion(forward=2.0)))
    StandsIn.of(near).takes(far, near, memory.camera)
    not_through(far, near, memory.camera)


def _repeat() -> None:
    """Lay a texture that repeats itself: whether these few walks dream of one is luck."""
    import numpy as np

    from ...world.spatial.planar.planes import Plane
    from ...world.spatial.planar.texture import Texture

    wall, colours, known = Plane(np.array([1.0, 0, 0]), 1.0), np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool)
    made = (wall, np.eye(2, 3), colours, known, (0, 0, 8, 8), np.zeros(2), 1.0, np.zeros(3), 10.0, ((0, 4),))
    Texture(*made).at(np.zeros((1, 2)))


def _python() -> Finding:
    mend = "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer"
    return Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", mend, True)


def _package(name: str, mend: str, *, is_needed: bool = False) -> Finding:
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a system library that a wheel needs is missing
        reason = "not installed" if find_spec(name) is None else f"does not import: {error}"
        return Finding(name, reason, mend, is_needed)
    return Finding(name, str(getattr(module, "__version__", "installed")), is_needed=is_needed)


def _triton() -> Finding:
    if platform.system() != "Linux":
        return Finding("triton", "not for this system; the torch references are used")
    return _package("triton", "pip install triton")


def _pygame() -> Finding:
    there = {name: metadata.version(name) for name in ("pygame-ce", "pygame") if _is_installed(name)}
    if len(there) > 1:
        return Finding("pygame", f"both {' and '.join(there)}, which share one folder", _PYGAME_REPAIR)
    try:
        from ..window import sdl  # noqa: F401 -- whether it imports is the question
    except ImportError as error:
        return Finding("pygame", str(error), _PYGAME_REPAIR)
    return Finding("pygame", " ".join(next(iter(there.items()), ("installed", ""))))


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _open3d() -> Finding:
    name = next((name for name in ("open3d", "open3d-cpu") if _is_installed(name)), None)
    if name is None:
        return Finding("open3d", "not installed; only the 3D map needs it", "pip install 'roam-worlds[map]'")
    if told := why_not_open3d():
        return Finding("open3d", f"{name} {metadata.version(name)}, {told}", MEND_LINUX)
    return Finding("open3d", f"{name} {metadata.version(name)}")


def _display(missing: str | None) -> Finding:
    if missing is None:
        return Finding("display", "yes")
    return Finding("display", f"{missing}; `roam play` records a walk instead", "set DISPLAY, or xvfb-run roam play")


def _cuda() -> Finding:
    if find_spec("torch") is None:
        return Finding("CUDA", "unknown without torch", "pip install torch")
    import torch

    if torch.cuda.is_available():
        return Finding("CUDA", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    if torch.version.cuda is None:
        return Finding("CUDA", "this torch is built for the CPU; the embedded model needs no more")
    return Finding("CUDA", "no device; the embedded model needs none")


def _bf16() -> Finding:
    if find_spec("torch") is None:
        return Finding("bf16", "unknown without torch", "pip install torch")
    import torch

    from ...kernels.device import has_half_dots

    if has_half_dots(torch.empty(0, dtype=torch.bfloat16)):
        return Finding("bf16", "this CPU has bf16 dot products")
    return Finding("bf16", "this CPU has no bf16 dot products; float32 is used")


def _backend() -> Finding:
    if find_spec("torch") is None:
        return Finding("kernels", "unknown without torch", "pip install torch")
    import torch

    from ...kernels import backend
    from ...world.transformer.passes import Serving

    device = "cuda" if torch.cuda.is_available() else "cpu"
    how = {"triton": "Triton kernels, captured as graphs", "reference": "torch references"}[backend(device)]
    return Finding("kernels", f"{how} on {device}, in {Serving().precision_on(device)}")


def _cache() -> Finding:
    if find_spec("numba") is None:
        return Finding("cache", "unknown without numba", "pip install numba")
    from ...world.compiled import cache_folder

    folder = cache_folder()
    if folder is None:
        mend = "set NUMBA_CACHE_DIR to a folder that can be written"
        return Finding("cache", "nowhere to keep compiled code, so every start compiles it anew", mend)
    return Finding("cache", f"compiled code is kept in {folder}")


def _home() -> Finding:
    try:
        home = Path.home()
    except RuntimeError:
        home = None
    if home is None or not os.access(home, os.W_OK):
        where = "no home folder" if home is None else f"{home} cannot be written"
        return Finding("home", f"{where}; servers keep walks and keys there", "set HOME, or use --folder")
    return Finding("home", str(home))


def _weights() -> Finding:
    folder = Path(str(resources.files(f"{__package__.split('.')[0]}.world.weights")))
    files = {path: path.read_bytes() for path in folder.glob("*.safetensors")}
    sizes = [len(data) for data in files.values()]
    if damage := next(filter(None, (why_damaged(path, data) for path, data in files.items())), ""):
        return Finding("weights", damage, "reinstall roam-worlds", True)
    if not sizes:
        mend = "reinstall roam-worlds, or train them: roam train --out runs/mine; until then: roam play --truth"
        return Finding("weights", "no embedded model", mend, True)
    return Finding("weights", f"embedded model, {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB", is_needed=True)
