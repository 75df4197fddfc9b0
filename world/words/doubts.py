"""Refuses what is made of known words and yet may mean two things, or nothing: sentences that break off, words beside
which nothing stands that they could belong to, amounts that may be for one part or for both, idioms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ..pose import Motion
from .grammar import (
    ALL_UNITS,
    DIRECTION_OF,
    FILLERS,
    OPEN_ENDED,
    OTHER_FILLERS,
    SOFTENERS,
    TAKING,
    TURN_DEG,
    VERB_OF,
    ActionError,
)

Clause = Sequence[str | float]

_ARTICLES = ("the", "your", "my", "a", "an")
_GOES_AHEAD = (["go"], ["go", "ahead"], ["go", "on"])  # "go ahead and turn left" need not go anywhere
_STANDS = ("stay", "stand", "rest", "still", "here")


def shown(clause: Clause) -> str:
    return " ".join(f"{token:g}" if isinstance(token, float) else token for token in clause)


def check_whole(clause: Clause) -> None:
    """Raises ActionError for a clause that breaks off, or a "to" or "by" without what belongs after it."""
    if clause[-1] in OPEN_ENDED:
        raise ActionError(f"'{shown(clause)[-60:]}' breaks off after '{clause[-1]}': say it whole, or leave that out")
    for number, token in enumerate(clause):
        after = next((token for token in clause[number + 1 :] if token not in _ARTICLES), "")
        if token == "to" and not (isinstance(after, float) or after in DIRECTION_OF):
            raise ActionError(f"'to {after}' names no direction; say for instance 'to the left'")
        if token == "by" and not (isinstance(after, float) or after in SOFTENERS):
            raise ActionError(f"'by {after}' is no amount; say for instance 'by 2 metres'")


def check_words(clause: Clause, way: str | None, amount: float | None, unit: str | None, *, has_verb: bool) -> None:
    """Raises ActionError for words that do not go together, although each is known. way, amount, unit: what the clause
    was found to name."""
    verb = next((token for token in clause if token in VERB_OF), "")
    if verb in ("step", "sidestep") and amount is not None and unit is None:
        raise ActionError(f"'{verb}' by {amount:g} may be steps or metres: name the unit")
    if amount is not None and unit is None and way and not has_verb and way != "forward" and abs(amount) < TURN_DEG:
        raise ActionError(f"'{shown(clause)}' may be metres or degrees: name the unit")
    numbers = [at for at, token in enumerate(clause) if isinstance(token, float)]
    if numbers and unit is None and verb not in ("", "back") and numbers[0] < clause.index(verb):  # "one left turn"
        raise ActionError(f"'{shown(clause)}': name the unit of {amount:g}, or say it after '{verb}'")
    soft = next((token for token in clause if token in SOFTENERS), "")
    if soft and (amount is not None or (way or "").startswith("around")):
        raise ActionError(f"'{soft}' beside {'an amount' if amount is not None else 'around'}: leave one of them out")
    if verb == "tilt" and way and way not in ("up", "down"):
        raise ActionError(f"'tilt' goes up or down, not '{way}': say 'turn {way}', or 'look {way}'")
    if verb == "advance" and way not in (None, "forward"):
        raise ActionError(f"'advance' goes forward, not '{way}': say 'move {way}'")
    place = next((token for token in clause if token in ("here", "still")), "")
    if place and way is None and amount is None and verb and VERB_OF[verb] != "wait":
        raise ActionError(f"'{shown(clause)}' has no direction; say for instance 'move forward'")
    if "on" in clause and "straight" not in clause and not verb and way == "forward" and not has_verb:
        raise ActionError("'on' without a verb; say for instance 'go on'")


def check_together(clauses: Sequence[Clause], parts: Sequence[Motion]) -> None:
    """Raises ActionError for clauses of one act that contradict each other or share an amount. parts: what each of
    them means alone."""
    for number, (clause, after) in enumerate(pairwise(clauses)):
        check_amounts(clause, parts[number], after, parts[number + 1], is_later=False)
        if _said(clause) in _GOES_AHEAD and _said(after)[:1] and _said(after)[0] in {*VERB_OF, *TAKING}:
            raise ActionError(
                f"'{shown(clause)} and {shown(after)[:40]}' may go forward or not: say 'move forward', or leave it out"
            )
    stands = next((word for clause in clauses for word in clause if word in _STANDS and _waits(clause)), "")
    if stands and any(part.forward or part.right for part in parts):
        raise ActionError(f"'{stands}' and a way to go in one act: say 'then' between them, or leave one out")
    for axis in vars(Motion()):
        going = [(clause, getattr(part, axis)) for clause, part in zip(clauses, parts, strict=True)]
        going = [(clause, amount) for clause, amount in going if amount]
        is_both_ways = len({amount > 0 for _, amount in going}) > 1
        if is_both_ways and not all(_has_amount(clause) for clause, _ in going):
            there, back = (shown(going[at][0])[:30] for at in (0, -1))
            raise ActionError(f"'{there}' and '{back}' in one act: say how far each, or 'then' between them")


def check_amounts(before: Clause, before_means: Motion, after: Clause, means: Motion, *, is_later: bool) -> None:
    """Raises ActionError for an amount that may be meant for a bare direction beside it, too: "walk forward and left
    2 m", "walk 2 m forward, then back". is_later: whether the second clause begins another act."""
    if any(token in VERB_OF and token != "back" for token in after) or {*after} & {*TAKING}:
        return
    is_length = _is_length(before_means)
    has_one = _has_amount(before) != _has_amount(after) and not (is_later and _has_amount(after))
    if has_one and is_length is not None and is_length == _is_length(means):
        one, other = (before, after) if _has_amount(before) else (after, before)
        raise ActionError(f"the amount in '{shown(one)[:40]}' may be for '{shown(other)[:40]}' too: say how far each")


def check_units(clauses: Sequence[Clause], parts: Sequence[Motion]) -> None:
    """Raises ActionError for an amount without a unit after another unit than metres or degrees: "two steps forward,
    one back", "walk 50 cm, then walk 20". Of all clauses of a sentence."""
    units: dict[bool | None, str] = {}
    for clause, part in zip(clauses, parts, strict=True):
        unit = next((token for token in clause if isinstance(token, str) and token in ALL_UNITS), "")
        known = units.get(_is_length(part), "")
        if _has_amount(clause) and not unit and known and ALL_UNITS[known] != 1:
            raise ActionError(f"'{shown(clause)[:40]}' after an amount in '{known}': name its unit, too")
        if unit:
            units[_is_length(part)] = unit


def _said(clause: Clause) -> list:
    """A clause without what is only polite."""
    return [token for token in clause if token not in {*FILLERS, *OTHER_FILLERS}]


def _waits(clause: Clause) -> bool:
    return any(VERB_OF.get(token) == "wait" for token in clause if isinstance(token, str))


def _has_amount(clause: Clause) -> bool:
    return any(isinstance(token, float) for token in clause)


def _is_length(part: Motion) -> bool | None:
    """Whether a motion goes somewhere (True) or turns (False); None if it does neither."""
    return True if part.forward or part.right else False if part.yaw_deg or part.pitch_deg else None
