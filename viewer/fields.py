"""The kinds of value that a message's header may hold, each with its limits: what protocol.py is made of.

A kind is a dataclass field whose check turns an unpacked value into a good one or raises FieldError. Knows no message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any

MAX_WHOLE = 2**63 - 1
HEX = re.compile(r"[0-9a-f]*\Z")
NAME = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]*)?\Z")


class FieldError(ValueError):
    """A value outside its kind; the message says what came and what was wanted."""


def whole(low: int = 0, high: int = MAX_WHOLE, *, default: Any = MISSING) -> Any:
    """An integer from low to high."""

    def check(value):
        if type(value) is not int or not low <= value <= high:
            raise FieldError(f"{_shown(value)}; wanted a whole number from {low} to {high}")
        return value

    return _kind(check, default)


def real(*, default: Any = MISSING) -> Any:
    """A finite number."""
    return _kind(_finite, default)


def flag(*, default: Any = MISSING) -> Any:
    """True or false."""

    def check(value):
        if not isinstance(value, bool):
            raise FieldError(f"{_shown(value)}; wanted true or false")
        return value

    return _kind(check, default)


def text(longest: int, *, pattern: re.Pattern | None = None, default: Any = MISSING) -> Any:
    """A string of at most `longest` characters that matches the pattern."""

    def check(value):
        if not isinstance(value, str) or len(value) > longest or (pattern and not pattern.match(value)):
            wanted = f" like {pattern.pattern}" if pattern else ""
            raise FieldError(f"{_shown(value)}; wanted a text of at most {longest} characters{wanted}")
        return value

    return _kind(check, default)


def choice(*known: str, default: Any = MISSING) -> Any:
    """One of a few words."""

    def check(value):
        if value not in known:
            raise FieldError(f"{_shown(value)}; wanted one of: {', '.join(map(repr, known))}")
        return value

    return _kind(check, default)


def numbers(*lengths: int, default: Any = MISSING) -> Any:
    """A list of finite numbers of one of these lengths."""

    def check(value):
        if not isinstance(value, tuple) or len(value) not in lengths:
            raise FieldError(f"{_shown(value)}; wanted a list of {' or '.join(map(str, lengths))} numbers")
        return tuple(_finite(v) for v in value)

    return _kind(check, default)


def wholes(most: int, high: int, *, default: Any = MISSING) -> Any:
    """A list of at most `most` integers from 0 to high."""

    def check(value):
        if not isinstance(value, tuple) or len(value) > most:
            raise FieldError(f"{_shown(value)}; wanted a list of at most {most} whole numbers")
        if any(type(v) is not int or not 0 <= v <= high for v in value):
            raise FieldError(f"{_shown(value)}; wanted whole numbers from 0 to {high}")
        return value

    return _kind(check, default)


def texts(most: int, longest: int, *, default: Any = MISSING) -> Any:
    """A list of at most `most` strings of at most `longest` characters."""

    def check(value):
        if not isinstance(value, tuple) or len(value) > most:
            raise FieldError(f"{_shown(value)}; wanted a list of at most {most} texts")
        if any(not isinstance(v, str) or len(v) > longest for v in value):
            raise FieldError(f"{_shown(value)}; wanted texts of at most {longest} characters")
        return value

    return _kind(check, default)


def _kind(check: Callable[[Any], Any], default: Any) -> Any:
    return field(default=default, metadata={"check": check})


def _finite(value):
    if type(value) not in (int, float) or not -1e300 < value < 1e300 or math.isnan(value):
        raise FieldError(f"{_shown(value)}; wanted a finite number")
    return float(value)


def _shown(value) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
