"""Words that move: a sentence becomes an Action, the text that a model reads and the Motion that it stands for.

Nothing here knows a model or a key. The grammar is one table of verbs and one of directions, so that the parser, the
error messages, the training text and the model's word list cannot disagree.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .pose import Motion

STEP = 0.3  # metres that a plain "move forward" goes
TURN_DEG = 15.0  # degrees that a plain "turn left" goes

VERBS = {
    "move": ("move", "walk", "go", "step", "advance", "head", "back"),
    "strafe": ("strafe", "sidestep", "slide"),
    "turn": ("turn", "rotate", "pivot", "spin"),
    "look": ("look", "tilt", "glance"),
    "wait": ("wait", "stay", "stop", "stand", "rest", "pause"),
}
DIRECTIONS = {
    "forward": ("forward", "forwards", "ahead", "straight", "on"),
    "back": ("back", "backward", "backwards"),
    "left": ("left", "leftward", "leftwards"),
    "right": ("right", "rightward", "rightwards"),
    "up": ("up", "upward", "upwards"),
    "down": ("down", "downward", "downwards"),
    "around": ("around", "round"),
}
UNITS = {
    "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "cm": 0.01,
    "degree": 1.0, "degrees": 1.0, "deg": 1.0,
}  # fmt: skip
LENGTH_UNITS = ("m", "metre", "metres", "meter", "meters", "cm")
FILLERS = ("to", "the", "your", "a", "by", "please", "still", "here", "of", "little", "bit", "slightly")
SOFTENERS = ("little", "bit", "slightly")  # half of the usual step
JOINERS = ("and", "then", ",", ";", "&", ".")

_VERB_OF = {word: verb for verb, words in VERBS.items() for word in words}
_DIRECTION_OF = {word: way for way, words in DIRECTIONS.items() for word in words}
_TOKEN = re.compile(r"[0-9]*\.?[0-9]+|[^\W\d_]+|[^\w\s]|_|\d+")
MAX_TEXT = 400


class ActionError(ValueError):
    """An action sentence that cannot be understood; the message says what came, what is known, what to do."""


@dataclass(frozen=True)
class Action:
    """One step's command: `text`, all that a model reads, and `motion`, what it means in metres and degrees.

    `motion` is None for free words ("open the door") that have a meaning only to a model that knows them.
    """

    text: str
    motion: Motion | None = None

    def split(self) -> list[Action]:
        """The same walk in frame-sized steps of at most about STEP metres or TURN_DEG degrees each.

        A sentence that fits in one frame comes back unchanged, in a list of one.
        """
        if self.motion is None:
            return [self]
        m = self.motion
        reach = max(math.hypot(m.forward, m.right) / STEP, abs(m.yaw_deg) / TURN_DEG, abs(m.pitch_deg) / TURN_DEG)
        count = math.ceil(reach / 1.5 - 1e-9)
        if count <= 1:
            return [self]
        count = math.ceil(reach - 1e-9)
        part = say(m.scaled(1 / count))
        return [Action(part, m.scaled(1 / count))] * count


def parse_action(text: str) -> Action:
    """The Action that an English sentence commands; its parts, joined by "and", "then" or commas, add up.

    Raises ActionError, naming what is known, on an empty sentence, an unknown word, a direction that the verb cannot
    take, an amount that is no finite number, or a unit of the wrong kind.
    """
    if len(text) > MAX_TEXT:
        raise ActionError(f"action of {len(text)} characters; at most {MAX_TEXT} are read: say less at once")
    clauses = _clauses(text)
    if not clauses:
        raise ActionError(f"empty action; say for instance 'move forward', known verbs: {', '.join(VERBS)}")
    motion, verb = Motion(), None
    for clause in clauses:
        verb, part = _clause_motion(clause, verb)
        motion = motion + part
    return Action(" ".join(text.split()), motion)


def say(motion: Motion) -> str:
    """The plain sentence for a motion, which `parse_action` reads back to the same motion within rounding."""
    parts = []
    if motion.forward:
        parts.append(_phrase("move " + ("forward" if motion.forward > 0 else "back"), motion.forward, STEP, "metres"))
    if motion.right:
        parts.append(_phrase("strafe " + ("right" if motion.right > 0 else "left"), motion.right, STEP, "metres"))
    if motion.yaw_deg:
        parts.append(
            _phrase("turn " + ("left" if motion.yaw_deg > 0 else "right"), motion.yaw_deg, TURN_DEG, "degrees")
        )
    if motion.pitch_deg:
        parts.append(
            _phrase("look " + ("up" if motion.pitch_deg > 0 else "down"), motion.pitch_deg, TURN_DEG, "degrees")
        )
    return " and ".join(parts) or "wait"


def words() -> tuple[str, ...]:
    """Every word of the grammar, sorted: the word list of a text tokenizer that must know each in one id."""
    known = set(_VERB_OF) | set(_DIRECTION_OF) | set(UNITS) | set(FILLERS) | set(JOINERS) | {"°"}
    return tuple(sorted(known))


def _phrase(verb: str, amount: float, usual: float, unit: str) -> str:
    if abs(abs(amount) - usual) < 1e-6:
        return verb
    number = f"{abs(amount):.2f}".rstrip("0").rstrip(".")
    return f"{verb} {number} {unit}"


def _clauses(text: str) -> list[list[str]]:
    clauses: list[list[str]] = [[]]
    for token in _TOKEN.findall(re.sub(r"\bback up\b", "back", text.lower())):
        if token in JOINERS:
            clauses.append([])
        else:
            clauses[-1].append("degrees" if token == "°" else token)
    return [clause for clause in clauses if clause]


def _clause_motion(clause: list[str], verb_before: str | None) -> tuple[str, Motion]:
    """One clause's verb and motion; a clause without a verb ("and right 10 degrees") repeats the verb before it."""
    verb = way = unit = amount = None
    is_soft = False
    for token in clause:
        if token in _VERB_OF and not (token == "back" and verb):
            if verb:
                raise ActionError(f"two verbs, '{verb}' and '{token}', in one part; join the parts with 'and'")
            verb = _VERB_OF[token]
            way = "back" if token == "back" else way
        elif token in _DIRECTION_OF:
            way = way if token in ("on", "straight") and way else _DIRECTION_OF[token]
        elif token in UNITS:
            unit = token
        elif token[0] in "0123456789.":
            if amount is not None:
                raise ActionError(
                    f"two amounts in one part of the action, the second is {token}; join parts with 'and'"
                )
            amount = float(token)
        elif token in FILLERS:
            is_soft = is_soft or token in SOFTENERS
        else:
            raise ActionError(_unknown(token, has_verb=verb is not None))
    if token := _missing_verb(verb, way, verb_before):
        verb = token
    else:
        verb = verb or verb_before
    if verb is None:
        raise ActionError(f"no verb in '{' '.join(clause)}'; known verbs: {', '.join(VERBS)}")
    return verb, _motion(verb, way, amount, unit, is_soft)


def _missing_verb(verb: str | None, way: str | None, verb_before: str | None) -> str | None:
    """The verb that a bare direction stands for: "forward" moves, "left" turns."""
    if verb or verb_before or way is None:
        return None
    return {"forward": "move", "back": "move", "up": "look", "down": "look"}.get(way, "turn")


def _motion(verb: str, way: str | None, amount: float | None, unit: str | None, is_soft: bool) -> Motion:
    if verb == "wait":
        return Motion()
    is_length = verb in ("move", "strafe")
    if unit and (unit in LENGTH_UNITS) != is_length:
        raise ActionError(f"'{verb}' by '{unit}': {verb} takes {'metres' if is_length else 'degrees'}")
    usual = STEP if is_length else (180.0 if way == "around" else TURN_DEG)
    size = usual * (0.5 if is_soft else 1.0) if amount is None else amount * UNITS.get(unit or "m", 1.0)
    if not math.isfinite(size) or size > 1000:
        raise ActionError(f"an amount of {size:g}: wanted at most 1000 metres or degrees")
    motions = {
        ("move", None): Motion(forward=size), ("move", "forward"): Motion(forward=size),
        ("move", "back"): Motion(forward=-size), ("move", "left"): Motion(right=-size),
        ("move", "right"): Motion(right=size), ("strafe", "left"): Motion(right=-size),
        ("strafe", "right"): Motion(right=size), ("turn", "left"): Motion(yaw_deg=size),
        ("turn", "right"): Motion(yaw_deg=-size), ("turn", "around"): Motion(yaw_deg=size),
        ("look", "left"): Motion(yaw_deg=size), ("look", "right"): Motion(yaw_deg=-size),
        ("look", "around"): Motion(yaw_deg=size), ("look", "up"): Motion(pitch_deg=size),
        ("look", "down"): Motion(pitch_deg=-size),
    }  # fmt: skip
    if (verb, way) not in motions:
        known = ", ".join(w for v, w in motions if v == verb and w)
        raise ActionError(f"'{verb}' {f'cannot go {way!r}' if way else 'needs a direction'}; it takes: {known}")
    return motions[verb, way]


def _unknown(token: str, *, has_verb: bool) -> str:
    if has_verb:
        return f"unknown word '{token}'; known directions: {', '.join(DIRECTIONS)}; units: m, cm, degrees"
    return f"unknown verb '{token}'; known verbs: {', '.join(VERBS)}"


_PHRASINGS = {
    "forward": ("move forward", "walk forward", "go forward", "step forward", "move ahead", "walk ahead", "advance",
                "go straight", "head forward", "walk on"),
    "back": ("move back", "walk back", "go back", "step back", "move backward", "walk backwards", "back up"),
    "strafe left": ("strafe left", "sidestep left", "step left", "move left", "slide left"),
    "strafe right": ("strafe right", "sidestep right", "step right", "move right", "slide right"),
    "turn left": ("turn left", "rotate left", "pivot left", "turn to the left", "look left", "spin left"),
    "turn right": ("turn right", "rotate right", "pivot right", "turn to the right", "look right", "spin right"),
    "look up": ("look up", "tilt up", "look upward", "glance up"),
    "look down": ("look down", "tilt down", "look downward", "glance down"),
    "wait": ("wait", "stay", "stand still", "stay here", "pause", "rest"),
}  # fmt: skip


def paraphrases(motion: Motion) -> tuple[str, ...]:
    """Every common way to say a motion along one axis, with its amount if that is not the usual one.

    Raises ValueError for a motion along several axes: say its parts one by one.
    """
    parts = [
        ("forward", motion.forward, STEP, "back"),
        ("strafe right", motion.right, STEP, "strafe left"),
        ("turn left", motion.yaw_deg, TURN_DEG, "turn right"),
        ("look up", motion.pitch_deg, TURN_DEG, "look down"),
    ]
    parts = [part for part in parts if part[1]]
    if len(parts) > 1:
        raise ValueError(f"{motion} moves along {len(parts)} axes; paraphrases are of one")
    if not parts:
        return _PHRASINGS["wait"]
    name, amount, usual, opposite = parts[0]
    unit = "metres" if usual == STEP else "degrees"
    return tuple(_phrase(phrase, amount, usual, unit) for phrase in _PHRASINGS[name if amount > 0 else opposite])
