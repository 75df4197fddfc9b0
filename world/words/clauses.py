"""Reads one clause of a sentence: it becomes a motion, or a refusal that names the word."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from ..pose import Motion
from .amounts import with_amounts
from .doubts import check_whole, check_words, shown
from .grammar import (
    ALL_UNITS,
    ANGLES,
    DIRECTION_OF,
    DIRECTIONS,
    FILLERS,
    JOINERS,
    MARKS,
    MOST,
    OTHER_DIRECTIONS,
    OTHER_FILLERS,
    OTHER_MARKS,
    OUT_OF_ORDER,
    PHRASES,
    POLITE,
    SOFTENERS,
    STEP,
    STEPS,
    TAKING,
    TOKEN,
    TURN_DEG,
    TURNS,
    VERB_OF,
    VERBS,
    ActionError,
)


def clauses_of(text: str) -> list[list[str | float]]:
    """The parts of a sentence, with all amounts, also spelled ones, as numbers."""
    text = text.lower().translate(MARKS)
    for phrase, words in PHRASES:
        text = phrase.sub(words, text)
    text = re.sub(r"(?<=\d)\.(?=\s+[^\W\d_])", _end_of_number, text)
    clauses: list[list[str | float]] = [[]]
    for token in with_amounts(TOKEN.findall(re.sub(r"\.{2,}", ".", text))):
        if token in JOINERS or token in OTHER_MARKS:
            clauses.append([])
        else:
            clauses[-1].append("degrees" if token == "°" else token)
    return [clause for clause in clauses if not POLITE.issuperset(clause)]


def _end_of_number(mark: re.Match) -> str:
    """The mark of "5. m" belongs to the number, that of "5. Turn" to the sentence."""
    word = re.match(r"\s+([^\W\d_]+)", mark.string[mark.end() :])
    return "" if word and word[1] in ALL_UNITS else "."


class Said(NamedTuple):
    """The verb and the direction that a clause named."""

    verb: str
    way: str | None


def motion_of(
    clause: list[str | float], before_it: Said | None, *, begins_act: bool = False
) -> tuple[Said | None, Motion]:
    """The context for the following clauses, and this clause's motion. begins_act: whether it follows the words before
    it in time, too.

    A clause without a verb ("and right 10 degrees") repeats the last verb if that allows its direction; otherwise it
    means what it would alone. A verb that was only implied is not repeated: "forward 2 m, left" moves and turns.
    """
    verb_before = before_it and before_it.verb
    verb = unit = amount = None
    ways: dict[str, str] = {}  # the direction, and the word for it
    is_soft = False
    taking = clockwise = ""
    before: str | float = ""
    check_whole(clause)
    for token in clause:
        if isinstance(token, float):
            if amount is not None:
                raise ActionError(
                    f"two amounts in one part of the action, the second is {token:g}; join parts with 'and'"
                )
            if before == "to":
                raise ActionError(f"'to {token:g}' names a place or a heading, and amounts count from here: say 'by'")
            amount = token
        elif token in VERB_OF and not (token == "back" and (verb or taking)):
            if verb:
                raise ActionError(f"two verbs, '{verb}' and '{token}', in one part; join the parts with 'and'")
            verb = VERB_OF[token]
            ways |= {"back": token} if token == "back" else {}
        elif token in DIRECTION_OF:
            if before == token or token in ways.values():
                raise ActionError(f"'{token}' twice in one part: say it once with how far, or join parts with 'and'")
            ways.setdefault(DIRECTION_OF[token], token)
        elif token in OTHER_DIRECTIONS:
            if token == clockwise:
                raise ActionError(f"'{token}' twice in one part: say it once with how far")
            clockwise = token
            ways.setdefault(OTHER_DIRECTIONS[token], token)
        elif token in ALL_UNITS:
            if not isinstance(before, float):
                raise ActionError(f"'{token}' without an amount before it; say for instance 'move forward 2 m'")
            unit = token
        elif token in FILLERS or token in OTHER_FILLERS:
            is_soft = is_soft or token in SOFTENERS
        elif token in TAKING and not (verb or taking):
            taking = token
        else:
            raise ActionError(_unknown(token, has_verb=verb is not None or bool(ways)))
        before = token
    is_straight = {token for token in clause if token in DIRECTIONS["forward"]} == {"straight"}
    way = _one_way(ways, is_straight=is_straight)
    check_words(clause, way, amount, unit, has_verb=bool(verb or taking or verb_before))
    is_turn = verb == "turn" or (verb is None and (unit in TURNS or clockwise))
    if taking and (verb or unit not in STEPS) and (not is_turn or (verb is None and unit not in TURNS)):
        raise ActionError(f"'{taking}' takes steps or turns: say for instance '{taking} two steps back'")
    if clockwise and not is_turn:
        raise ActionError(f"'{verb}' cannot go '{clockwise}': say 'turn', or another direction")
    if is_turn and way is None and amount and _degrees(amount, unit) % 180 == 0:
        way = "around"  # "half a turn"
    if is_turn and verb is None:
        verb = "turn"
    if verb is None and way is None and (verb_before or amount is not None):
        raise ActionError(f"'{shown(clause)}' has no direction; say for instance '{_EXAMPLES[verb_before or 'move']}'")
    if before_it == ("move", None) and way and not (verb or taking or begins_act or unit in ANGLES):
        raise ActionError(f"'move' without a direction, then '{way}' without a verb: name the direction in each part")
    if way and not (verb or taking) and verb_before:
        verb_before = _repeated(verb_before, way, unit)
        _check_side(clause, verb_before, way, unit, is_vague=begins_act or amount is not None)
    is_said = bool(verb or verb_before or taking)
    if taking:
        verb = verb or "move"
    elif missing := _missing_verb(verb, way, verb_before, unit):
        verb = missing
    else:
        verb = verb or verb_before
    if verb is None:
        raise ActionError(f"no verb in '{shown(clause)}'; known verbs: {', '.join(VERBS)}")
    return Said(verb, way) if is_said else None, _motion(verb, way, amount, unit, is_soft)


def _degrees(amount: float, unit: str | None) -> float:
    """An amount of turning; not a number if the unit is one of length."""
    return amount * ALL_UNITS[unit] if unit in ANGLES else math.nan if unit else amount


def _one_way(ways: dict[str, str], *, is_straight: bool) -> str | None:
    """The direction of a clause. Raises ActionError if two are named; "around left" is one way to turn. is_straight:
    of the words for forward, only "straight" is there: "straight back"."""
    if is_straight and set(ways) <= {"forward", "back", "up", "down"}:
        ways = {way: word for way, word in ways.items() if way != "forward" or len(ways) == 1}
    if set(ways) in ({"around", "left"}, {"around", "right"}):
        return f"around {next(way for way in ways if way != 'around')}"
    if len(ways) > 1:
        first, second, *_ = ways.values()
        raise ActionError(f"two directions, '{first}' and '{second}', in one part; name one, or join parts with 'and'")
    return next(iter(ways), None)


def _repeated(verb: str, way: str, unit: str | None) -> str | None:
    """The last verb, if a bare direction repeats it; None if that verb does not allow it ("turn left, then
    forward"), or not with that unit ("walk 2 m and left 90 degrees")."""
    is_length = verb in ("move", "strafe")
    goes = way.split()[0] in _WAYS[verb] and (unit is None or (unit not in ANGLES) == is_length)
    return verb if goes else None


def _check_side(clause: list[str | float], verb: str | None, way: str, unit: str | None, *, is_vague: bool) -> None:
    """Raises ActionError for a "left" that may mean turning or stepping aside: "walk 2 m, then left", "walk 2 and
    left 90"."""
    if is_vague and verb == "move" and unit is None and way in ("left", "right"):
        raise ActionError(f"'{shown(clause)}' after 'move' may turn or step aside: say 'turn' or 'strafe'")


def _missing_verb(verb: str | None, way: str | None, verb_before: str | None, unit: str | None) -> str | None:
    """The verb that a bare direction implies: "forward" and "2 m left" move, "left" turns."""
    if verb or verb_before or way is None:
        return None
    if unit and unit not in ANGLES:
        return "move"
    return {"forward": "move", "back": "move", "up": "look", "down": "look"}.get(way, "turn")


def _motion(verb: str, way: str | None, amount: float | None, unit: str | None, is_soft: bool) -> Motion:
    if verb == "wait":
        if way or amount is not None:
            raise ActionError(f"'wait' takes no {'direction' if way else 'amount'}; one 'wait' is one frame")
        return Motion()
    is_length, is_around = verb in ("move", "strafe"), (way or "").startswith("around")
    if unit and (unit not in ANGLES) != is_length:
        raise ActionError(f"'{verb}' by '{unit}': {verb} takes {'metres' if is_length else 'degrees'}")
    usual = STEP if is_length else (180.0 if is_around else TURN_DEG)
    size = usual * (0.5 if is_soft else 1.0) if amount is None else amount * ALL_UNITS.get(unit or "m", 1.0)
    if not math.isfinite(size) or abs(size) > MOST:
        raise ActionError(f"an amount of {size:g}: wanted at most {MOST:g} metres or degrees")
    if size < 0 and way in ("back", "around"):
        raise ActionError(f"'{way}' by {size:g} may mean either way: say it without the minus sign")
    if way == "around" and size % 180:
        raise ActionError(f"'around' by {size:g} degrees: left or right?")
    motions = {
        ("move", None): Motion(forward=size),
        ("move", "forward"): Motion(forward=size),
        ("move", "back"): Motion(forward=-size),
        ("move", "left"): Motion(right=-size),
        ("move", "right"): Motion(right=size),
        ("strafe", "left"): Motion(right=-size),
        ("strafe", "right"): Motion(right=size),
        ("turn", "left"): Motion(yaw_deg=size),
        ("turn", "right"): Motion(yaw_deg=-size),
        ("turn", "around"): Motion(yaw_deg=size),
        ("turn", "around left"): Motion(yaw_deg=size),
        ("turn", "around right"): Motion(yaw_deg=-size),
        ("look", "left"): Motion(yaw_deg=size),
        ("look", "right"): Motion(yaw_deg=-size),
        ("look", "around"): Motion(yaw_deg=size),
        ("look", "around left"): Motion(yaw_deg=size),
        ("look", "around right"): Motion(yaw_deg=-size),
        ("look", "up"): Motion(pitch_deg=size),
        ("look", "down"): Motion(pitch_deg=-size),
    }
    if (verb, way) not in motions:
        known = ", ".join(_WAYS[verb])
        raise ActionError(f"'{verb}' {f'cannot go {way!r}' if way else 'needs a direction'}; it takes: {known}")
    return motions[verb, way]


_WAYS = {
    "move": ("forward", "back", "left", "right"),
    "strafe": ("left", "right"),
    "turn": ("left", "right", "around"),
    "look": ("left", "right", "around", "up", "down"),
    "wait": (),
}
_EXAMPLES = {
    "move": "move forward 2 m",
    "strafe": "strafe left 1 m",
    "turn": "turn left 30 degrees",
    "look": "look up",
    "wait": "wait",
}


def _unknown(token: str, *, has_verb: bool) -> str:
    if not token.isprintable():
        return f"a mark that does not show, U+{ord(token[0]):04X}; leave it out"
    if not token[0].isalnum():
        return f"unknown mark '{token}'; known are commas and full stops, and a minus sign before a number"
    if token in OUT_OF_ORDER:
        return f"'{token}' is not read: join with 'and' what is done at once, with 'then' what is done next"
    if has_verb:
        units = "m, cm, feet, steps, degrees, turns"
        return f"unknown word '{token}'; known directions: {', '.join(DIRECTIONS)}; units: {units}"
    return f"unknown verb '{token}'; known verbs: {', '.join(VERBS)}"
