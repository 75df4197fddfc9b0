"""The seeds of a session's random draws: a hash of its own seed, of the frame and of what is drawn in it."""

from __future__ import annotations

from ..session import Session

# splitmix64 (Steele, Lea and Flood 2014): what it adds at each step (2^64 over the golden ratio, odd), and the two odd
# numbers by which it scatters the bits
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BITS_64 = 0xFFFFFFFFFFFFFFFF


def seed_of(session: Session, use: int) -> int:
    """The seed of the `use`-th random draw for a session's next frame."""
    return mix(session.seed, session.frame.index + 1, use)


def mix(*parts: int) -> int:
    """Integers to one 62-bit integer, by splitmix64 over each in turn."""
    state = 0
    for part in parts:
        state = (state + part + _STEP) & _BITS_64
        state = ((state ^ (state >> 30)) * _FIRST) & _BITS_64
        state = ((state ^ (state >> 27)) * _SECOND) & _BITS_64
        state ^= state >> 31
    return state >> 2  # 62 bits: positive in a signed integer of 64
