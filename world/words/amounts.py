"""Amounts in a sentence as numbers: in digits, in words, and the "a" of "a metre"."""

from __future__ import annotations

import math

from .grammar import ALL_UNITS, FRACTIONS, ONES, PARTS, TENS, ActionError


def with_amounts(tokens: list[str]) -> list[str | float]:
    """Tokens with their amounts as numbers: "1,5", "-3", "twenty five", "half a" and the "a" of "a metre"."""
    out: list[str | float] = []
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1 : at + 2]
        has_unit = bool(following) and (following[0] in ALL_UNITS or following[0] == "step")
        if token.lstrip("-.")[:1].isdecimal():
            amount, used = _number(token), 1
        elif token in ONES or token in TENS or token == "hundred" or (token == "a" and following == ["hundred"]):
            amount, used = _spelled(tokens[at:])
        elif token in PARTS:
            amount, used = PARTS[token], 1
            used += next(n for n, w in enumerate([*tokens[at + 1 :], ""]) if w not in ("a", "an", "of"))
            if not {*tokens[at + used : at + used + 1]} & {*ALL_UNITS, "step"}:
                raise ActionError(f"'{token}' of what? say for instance '{token} of a metre' or 'turn left 45 degrees'")
        elif token in FRACTIONS:
            amount, used = FRACTIONS[token], 1
        elif token in ("a", "an") and has_unit:
            amount, used = 1.0, 1
        else:
            out.append(token)
            at += 1
            continue
        at += used
        for words_of, part in (
            (["and", "a", "half"], 0.5),
            (["and", "a", "quarter"], 0.25),
            *(([mark], part) for mark, part in FRACTIONS.items()),
        ):
            if token not in PARTS and token not in FRACTIONS and tokens[at : at + len(words_of)] == words_of:
                amount, at = amount + math.copysign(part, amount), at + len(words_of)
                break
        out.append(amount)
        if tokens[at : at + 1] == ["step"]:  # "one step back": a length here, a verb elsewhere
            out.append("steps")
            at += 1
    return out


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
