"""Open3D, which the 3D map needs: whether it is installed, whether it loads, and what fixes it if not.

Run as a program (`python -m roam.viewer.play.open3d_loading`) this loads Open3D and ends: that is how a walk tries it
without loading it itself. Knows no map.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec

_MEND = "pip install 'roam-worlds[map]'"
MEND_LINUX = "apt-get install libusb-1.0-0 libgl1 libegl1 libx11-6 libudev1"


class NoOpen3D(ImportError):
    """Open3D is missing or does not load; the message has the command that fixes it."""


def check_open3d() -> None:
    """Raise NoOpen3D if it is not installed; does not import it."""
    if find_spec("open3d") is None:
        raise NoOpen3D(f"the 3D map needs Open3D: {_MEND}")


def why_not_open3d(timeout_s: float = 120.0) -> str | None:
    """Why Open3D does not load, or None if it does: tried in a process of its own, because it takes seconds and a GL
    context."""
    try:
        run = [sys.executable, "-m", f"{__package__}.open3d_loading"]
        done = subprocess.run(run, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"which does not load within {timeout_s:g} s"
    last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
    return f"which does not load: {last}" if done.returncode else None


def load_open3d():
    """The module open3d. Raises NoOpen3D with the command that fixes it."""
    check_open3d()
    try:
        import open3d
    except (ImportError, OSError) as error:  # OSError: a system library that the wheel needs is missing
        raise NoOpen3D(f"Open3D does not load ({error}): {MEND_LINUX}") from error
    return open3d


if __name__ == "__main__":
    importlib.import_module("open3d")
