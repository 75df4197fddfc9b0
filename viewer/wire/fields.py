"""The types of values that a message's header may hold, each with its limits: the building blocks of protocol.py.

A type is a dataclass field whose check turns an unpacked value into a valid one or raises FieldError. Its `range` says
in words what the check accepts, for the page that documents the protocol. Knows no message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any

MAX_WHOLE = 2**63 - 1
MAX_REAL = 1e15  # of a number without a range of its own: clocks, times, counts
HEX = re.compile(r"[0-9a-f]*\Z")
NAME = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]*)?\Z")


class FieldError(ValueError):
    """A value of the wrong type or range; the message says what came and what was wanted."""


def whole(low: int = 0, high: int = MAX_WHOLE, *, default: Any = MISSING) -> Any:
    """An integer from low to high."""

    def check(value):
        if type(value) is not int or not low <= value <= high:
            raise FieldError(f"{_shown(value)}; wanted a whole number from {low} to {high}")
        return value

    return _kind(check, default, _span(low, high))


def real(low: float = -MAX_REAL, high: float = MAX_REAL, *, default: Any = MISSING) -> Any:
    """A number from low to high."""
    return _kind(lambda value: _within(value, low, high), default, _span(low, high))


def flag(*, default: Any = MISSING) -> Any:
    """True or false."""

    def check(value):
        if not isinstance(value, bool):
            raise FieldError(f"{_shown(value)}; wanted true or false")
        return value

    return _kind(check, default, "")


def text(longest: int, *, pattern: re.Pattern | None = None, default: Any = MISSING) -> Any:
    """A string of at most `longest` characters that matches the pattern."""

    def check(value):
        if not isinstance(value, str) or len(value) > longest or (pattern and not pattern.match(value)):
            wanted = f" like {pattern.pattern}".removesuffix("\\Z") if pattern else ""
            raise FieldError(f"{_shown(value)}; wanted a text of at most {longest} characters{wanted}")
        return value

    shown = f", like {pattern.pattern}".removesuffix("\\Z") if pattern else ""
    return _kind(check, default, f"at most {longest} characters{shown}")


def choice(*known: str, default: Any = MISSING) -> Any:
    """One of a few words."""

    def check(value):
        if value not in known:
            raise FieldError(f"{_shown(value)}; wanted one of: {', '.join(map(repr, known))}")
        return value

    return _kind(check, default, ", ".join(map(repr, known)))


def numbers(*lengths: int, most: tuple[float, ...] | float = MAX_REAL, default: Any = MISSING) -> Any:
    """A list of numbers of one of these lengths, each from -most to most; `most` may be a list with one limit per
    place."""
    bounds = most if isinstance(most, tuple) else (most,) * max(lengths)

    def check(value):
        if not isinstance(value, tuple) or len(value) not in lengths:
            raise FieldError(f"{_shown(value)}; wanted a list of {' or '.join(map(str, lengths))} numbers")
        return tuple(_within(v, -bound, bound) for v, bound in zip(value, bounds, strict=False))

    shown = ", ".join(f"±{bound:g}" for bound in dict.fromkeys(bounds))
    if isinstance(most, tuple):
        shown = ", ".join(f"±{bound:g}" for bound in most)
    return _kind(check, default, f"{' or '.join(map(str, lengths))} numbers, {shown}")


def wholes(most: int, high: int, *, default: Any = MISSING) -> Any:
    """A list of at most `most` integers from 0 to high."""

    def check(value):
        if not isinstance(value, tuple) or len(value) > most:
            raise FieldError(f"{_shown(value)}; wanted a list of at most {most} whole numbers")
        if any(type(v) is not int or not 0 <= v <= high for v in value):
            raise FieldError(f"{_shown(value)}; wanted whole numbers from 0 to {high}")
        return value

    return _kind(check, default, f"at most {most}, each {_span(0, high)}")


def texts(most: int, longest: int, *, default: Any = MISSING) -> Any:
    """A list of at most `most` strings of at most `longest` characters."""

    def check(value):
        if not isinstance(value, tuple) or len(value) > most:
            raise FieldError(f"{_shown(value)}; wanted a list of at most {most} texts")
        if any(not isinstance(v, str) or len(v) > longest for v in value):
            raise FieldError(f"{_shown(value)}; wanted texts of at most {longest} characters")
        return value

    return _kind(check, default, f"at most {most}, each at most {longest} characters")


def _kind(check: Callable[[Any], Any], default: Any, span: str) -> Any:
    return field(default=default, metadata={"check": check, "range": span})


def _within(value, low: float, high: float) -> float:
    if type(value) not in (int, float) or math.isnan(value) or not low <= value <= high:
        raise FieldError(f"{_shown(value)}; wanted a number from {low:g} to {high:g}")
    return float(value)


def _span(low: float, high: float) -> str:
    names: dict[float, str] = {MAX_WHOLE: "2^63-1", 2**31: "2^31"}
    return f"{low:g} to {names.get(high, f'{high:.12g}')}"


def _shown(value) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
