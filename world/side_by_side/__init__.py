"""Several things at once: on threads of one process (threads.py), or in processes of their own (processes.py)."""

from .threads import SideBySide

__all__ = ["SideBySide"]
