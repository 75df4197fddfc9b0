"""The seeds of a session's draws: a hash of its own seed, of the frame and of what is drawn in it."""

from __future__ import annotations

from ..session import Session


def seed_of(session: Session, use: int) -> int:
    """The seed of the `use`-th thing that is drawn for a session's next frame."""
    return mix(session.seed, session.frame.index + 1, use)


def mix(*parts: int) -> int:
    """Integers to one 62-bit integer, by splitmix64 over each in turn."""
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 2
