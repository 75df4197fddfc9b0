"""The ranges of all fields as docs/protocol.md states them, and messages with values at their ends and beyond them."""

from __future__ import annotations

import contextlib
import re

import msgpack
from roam.viewer.wire import protocol as p

from .examples import EXAMPLES
from .golden import PAGE

ENDS = {"2^31": 2**31, "2^63-1": 2**63 - 1}
HEX, SAVE = "[0-9a-f]*", "([A-Za-z0-9_-][A-Za-z0-9_.-]*)?"
LIKE = {"": ("x", None), HEX: ("a", "g"), SAVE: ("x", "/")}  # a letter that a pattern accepts, and one that it does not


def told_fields() -> list[tuple[str, str, str, str]]:
    """Each message, field, type and range that the page states."""
    rows, kind = [], ""
    for line in PAGE.read_text().partition("<!-- fields -->")[2].partition("<!-- /fields -->")[0].splitlines():
        if found := re.match(r"\*\*(\w+)\*\*", line):
            kind = found.group(1)
        elif line.startswith("| ") and not line.startswith(("| field", "| ---")):
            name, type_, span, _ = (cell.strip() for cell in line.strip("|").split("|"))
            rows.append((kind, name, type_, span))
    return rows


def at_the_ends(type_: str, span: str) -> tuple[list, list]:
    """For what the page says of a field: values at the ends of its range, and values just beyond or of another type."""
    number = r"(-?[\d.e+^-]+)"
    if type_ in ("int", "float"):
        low, high = (ENDS.get(end) or float(end) for end in re.fullmatch(f"{number} to {number}", span).groups())
        low, high = (int(low), int(high)) if type_ == "int" else (low, high)
        step = 1 if type_ == "int" else max(1.0, abs(high) * 1e-9)
        return [low, high], [low - step, high + step, float("nan"), float("inf"), "1", None, True, [1]]
    if type_ == "bool":
        return [True, False], [0, 1, "true", None]
    if type_ == "str" and span.startswith("'"):
        known = re.findall("'(.*?)'", span)
        return known, [known[-1] + "x", known[-1].upper() or "X", 1, None]
    if type_ == "str":
        most, pattern = re.fullmatch(r"at most (\d+) characters(?:, like (.*))?", span).groups()
        good, bad = LIKE[pattern or ""]
        return ["", good * int(most)], [good * (int(most) + 1), 1, None, b"x", *([bad] if bad else [])]
    if type_ == "list of float":
        counts, *bounds = span.split(", ")
        bounds = [float(bound.removeprefix("±")) for bound in bounds]
        beyond = [[b * 1.001 if k == place else 0 for k, b in enumerate(bounds)] for place in range(len(bounds))]
        assert str(len(bounds)) in counts
        none = [[]] if counts.startswith("0 or") else []
        return [*none, bounds, [-bound for bound in bounds]], [
            *beyond,
            bounds[1:],
            [*bounds, 0],
            ["x"] * len(bounds),
            1,
        ]
    most, rest = re.fullmatch(r"at most (\d+), each (.*)", span).groups()
    inner, bad = at_the_ends(type_.removeprefix("list of "), rest)
    return [[], inner[-1:] * int(most)], [inner[-1:] * (int(most) + 1), [bad[0]], [bad[1]], 1, None, "ab"]


def headers(kind: str, name: str, type_: str, span: str) -> tuple[list[bytes], list[bytes]]:
    """The example of a message with one field at the ends of its range, and with values that are outside of it."""
    example = msgpack.unpackb(p.pack(next(example for example in EXAMPLES if kind == example.TYPE))[0])
    good, bad = at_the_ends(type_, span)
    packed = []
    for value in bad:
        with contextlib.suppress(OverflowError):  # no message can hold it
            packed.append(msgpack.packb(example | {name: value}))
    return [msgpack.packb(example | {name: value}) for value in good], packed
