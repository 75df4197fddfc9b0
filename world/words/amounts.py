"""Amounts in a sentence as numbers: in digits, in words, and the "a" of "a metre"."""

from __future__ import annotations

import math

from .grammar import ALL_UNITS, AND_PARTS, FRACTIONS, NOUNS, ONES, PARTS, SPELLED_PARTS, TENS, ActionError


def with_amounts(tokens: list[str]) -> list[str | float]:
    """Tokens with their amounts as numbers: "1,5", "-3", "twenty five", "half a" and the "a" of "a metre"."""
    out: list[str | float] = []
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1 : at + 2]
        has_unit = bool(following) and (following[0] in ALL_UNITS or following[0] == "step")
        is_part = False
        if part := _part(tokens[at:]):
            (amount, used), is_part = part, True
        elif token.lstrip("-.")[:1].isdecimal():
            amount, used = _number(token), 1
        elif token in ONES or token in TENS or token == "hundred" or (token == "a" and following == ["hundred"]):
            amount, used = _spelled(tokens[at:])
        elif token in ("a", "an") and has_unit:
            amount, used = 1.0, 1
        else:
            out.append(token)
            at += 1
            continue
        at += used
        if not is_part:
            more, used = _and_a_part(tokens[at:])
            amount, at = amount + math.copysign(more, amount), at + used
        out.append(amount)
        noun = tokens[at] if at < len(tokens) else ""
        if noun in ("turn", "turns") and not is_part and amount % 1 == 0:  # "one turn left" may be a "turn left"
            raise ActionError(f"'{amount:g} {noun}' may be whole turns or not: say 'a full turn', or the degrees")
        if noun in NOUNS:
            out.append(NOUNS[noun])
            at += 1
    return out


def _part(tokens: list[str]) -> tuple[float, int] | None:
    """The part of a unit that the first words name ("half a", "three quarters of a", "½"), and how many words that
    is. Raises ActionError if it is followed by no unit."""
    words = next((words for words in SPELLED_PARTS if tuple(tokens[: len(words)]) == words), None)
    if not words and tokens[0] not in PARTS | FRACTIONS:
        return None
    amount, used = (SPELLED_PARTS[words], len(words)) if words else ((PARTS | FRACTIONS)[tokens[0]], 1)
    used += next(n for n, word in enumerate([*tokens[used:], ""]) if word not in ("a", "an", "of"))
    if not {*tokens[used : used + 1]} & {*ALL_UNITS, *NOUNS}:
        named = " ".join(words) if words else tokens[0]
        raise ActionError(f"'{named}' of what? say for instance 'half a metre', 'a quarter turn' or '45 degrees'")
    return amount, used


def _and_a_part(tokens: list[str]) -> tuple[float, int]:
    """What the first words add to the amount before them ("and a half", "½"), and how many words that is."""
    if tokens and tokens[0] in FRACTIONS:
        return FRACTIONS[tokens[0]], 1
    if tokens[:1] == ["and"]:
        for words, amount in (AND_PARTS | SPELLED_PARTS).items():
            if tuple(tokens[1 : 1 + len(words)]) == words:
                return amount, 1 + len(words)
    return 0.0, 0


def _number(token: str) -> float:
    """A number with the decimal mark of either convention; ActionError if the two would read it differently."""
    whole, comma, part = token.lstrip("-").partition(",")
    if token.count(".") + token.count(",") > 1:
        raise ActionError(f"'{token}' is no number that can be read; wanted for instance 1000.5")
    if comma and len(part) == 3 and whole.lstrip("0") and len(whole) <= 3:
        raise ActionError(f"'{token}' may mean {whole}{part} or {whole}.{part}: write it without the comma")
    return float(token.replace(",", "."))


def _spelled(tokens: list[str]) -> tuple[float, int]:
    """The number that the first words spell, below 1000, and how many words that is."""
    at, amount, is_hundreds = 0, 0.0, False
    while at < len(tokens):
        word, rest = tokens[at], tokens[at + 1 : at + 2]
        if word == "and" and is_hundreds and rest and (rest[0] in ONES or rest[0] in TENS):
            at, is_hundreds = at + 1, False
        elif word == "a" and at == 0:
            amount, at = 1.0, 1
        elif word == "hundred" and at <= 1 and not is_hundreds:
            amount, at, is_hundreds = (amount or 1.0) * 100, at + 1, True
        elif word in TENS and amount % 100 == 0 and (at == 0 or amount):
            amount, at = amount + TENS[word], at + 1
        elif word in ONES and (at == 0 or (amount and amount % (10 if 0 < ONES[word] < 10 else 100) == 0)):
            if at and amount % 100 == 10:
                break
            amount, at = amount + ONES[word], at + 1
        else:
            break
    if tokens[at : at + 1] == ["point"]:
        digits = ""
        for word in tokens[at + 1 :]:
            if ONES.get(word, 10) > 9:
                break
            digits += str(ONES[word])
        if digits:
            amount, at = float(f"{amount:g}.{digits}"), at + 1 + len(digits)
    return amount, at
