"""Words that move: a sentence becomes an Action, the text that a model reads and the Motion that it stands for.

Nothing here knows a model or a key. The grammar is one table of verbs and one of directions, so that the parser, the
error messages, the training text and the model's word list cannot disagree. What people write besides (feet, number
words, decimal commas, marks) is read too, and told to the model in its own words. A sentence is understood whole or
refused whole: what could mean two things is refused by name.
"""

from __future__ import annotations

import math
import re
import unicodedata
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
    "m": 1.0,
    "metre": 1.0,
    "metres": 1.0,
    "meter": 1.0,
    "meters": 1.0,
    "cm": 0.01,
    "degree": 1.0,
    "degrees": 1.0,
    "deg": 1.0,
}
FILLERS = ("to", "the", "your", "a", "by", "please", "still", "here", "of", "little", "bit", "slightly")
SOFTENERS = ("little", "bit", "slightly")  # half of the usual step
JOINERS = ("and", "then", ",", ";", "&", ".")

# what people write besides, and no model was taught
_OTHER_UNITS = {
    "mm": 0.001, "centimetre": 0.01, "centimetres": 0.01, "centimeter": 0.01, "centimeters": 0.01, "km": 1000.0,
    "ft": 0.3048, "foot": 0.3048, "feet": 0.3048, "inch": 0.0254, "inches": 0.0254, "yd": 0.9144, "yard": 0.9144,
    "yards": 0.9144, "steps": STEP, "pace": STEP, "paces": STEP, "rad": 180 / math.pi, "radian": 180 / math.pi,
    "radians": 180 / math.pi, "degs": 1.0,
}  # fmt: skip
_OTHER_FILLERS = ("an", "my", "now", "just")
_OTHER_MARKS = ("!", "?", "…")
_ALL_UNITS = UNITS | _OTHER_UNITS
_ANGLES = ("degree", "degrees", "deg", "degs", "rad", "radian", "radians")
_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_PARTS = {"half": 0.5, "quarter": 0.25}
_MARKS = str.maketrans(
    {mark: "°" for mark in "º˚∘"}
    | {mark: "-" for mark in "−–‐‑﹣"}
    | {mark: " " for mark in "“”„«»‹›"}
    | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | {"‘": "'", "’": "'", "′": "'", "″": '"'}
    | {"½": " half ", "¼": " quarter ", "。": ".", "、": ","}
)

_VERB_OF = {word: verb for verb, words in VERBS.items() for word in words}
_DIRECTION_OF = {word: way for way, words in DIRECTIONS.items() for word in words}
_NUMBER = r"\d+(?:[.,]\d+)*|\.\d+"
_TOKEN = re.compile(rf"(?<![\w.,])-(?:{_NUMBER})|{_NUMBER}|[^\W\d_]+|[^\w\s]|_")
_PLAIN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
MAX_TEXT = 400
MOST = 1000.0  # metres or degrees of one sentence


class ActionError(ValueError):
    """An action sentence that cannot be understood; the message says what came, what is known, what to do."""


@dataclass(frozen=True)
class Action:
    """One step's command: `text`, all that a model reads, and `motion`, what it means in metres and degrees.

    `motion` is None for free words ("open the door") that have a meaning only to a model that knows them.
    """

    text: str
    motion: Motion | None = None

    @property
    def known_motion(self) -> Motion:
        """The motion, where words without one mean nothing. Raises ActionError for those."""
        if self.motion is None:
            raise ActionError(f"'{self.text[:60]}' is no motion; say one, for instance 'move forward'")
        return self.motion

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

    Its text is the sentence, or plain words for it where the sentence has some that no model was taught. Raises
    ActionError, naming what is known, on an empty sentence, an unknown word, a direction that the verb cannot take, two
    directions in one part, an amount that is no number or may be two, or a unit of the wrong kind.
    """
    if len(text) > MAX_TEXT:
        raise ActionError(f"action of {len(text)} characters; at most {MAX_TEXT} are read: say less at once")
    text = " ".join("".join(mark for mark in text if unicodedata.category(mark) != "Cf").split())
    clauses = _clauses(text)
    if not clauses:
        raise ActionError(f"empty action; say for instance 'move forward', known verbs: {', '.join(VERBS)}")
    motion, verb = Motion(), None
    for clause in clauses:
        verb, part = _clause_motion(clause, verb)
        motion = motion + part
    if any(abs(amount) > MOST for amount in vars(motion).values()):
        raise ActionError(f"'{text[:60]}' adds up to more than {MOST:g} metres or degrees: say less at once")
    return Action(text if _is_plain(text) else say(motion), motion)


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


def _is_plain(text: str) -> bool:
    """Whether all of it is in the word list of the models."""
    known = set(words())
    return all(token in known or _PLAIN_NUMBER.fullmatch(token) for token in _TOKEN.findall(text.lower()))


def _clauses(text: str) -> list[list[str | float]]:
    """The parts of a sentence; amounts, spelled ones too, as numbers."""
    text = re.sub(r"\bback up\b", "back", text.lower().translate(_MARKS))
    text = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])", " ", text)  # twenty-five
    text = re.sub(r"(?<=\d)\.(?=\s+[^\W\d_])", _end_of_number, text)
    clauses: list[list[str | float]] = [[]]
    for token in _with_amounts(_TOKEN.findall(re.sub(r"\.{2,}", ".", text))):
        if token in JOINERS or token in _OTHER_MARKS:
            clauses.append([])
        else:
            clauses[-1].append("degrees" if token == "°" else token)
    polite = {*FILLERS, *_OTHER_FILLERS}.difference(SOFTENERS)
    return [clause for clause in clauses if not polite.issuperset(clause)]


def _end_of_number(mark: re.Match) -> str:
    """The mark of "5. m" belongs to the number, that of "5. Turn" to the sentence."""
    word = re.match(r"\s+([^\W\d_]+)", mark.string[mark.end() :])
    return "" if word and word[1] in _ALL_UNITS else "."


def _with_amounts(tokens: list[str]) -> list[str | float]:
    """Tokens with their amounts as numbers: "1,5", "-3", "twenty five", "half a" and the "a" of "a metre"."""
    out: list[str | float] = []
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1 : at + 2]
        has_unit = bool(following) and (following[0] in _ALL_UNITS or following[0] == "step")
        if token.lstrip("-.")[:1].isdecimal():
            amount, used = _number(token), 1
        elif token in _ONES or token in _TENS or token == "hundred" or (token == "a" and following == ["hundred"]):
            amount, used = _spelled(tokens[at:])
        elif token in _PARTS:
            amount, used = _PARTS[token], 1
            used += next(n for n, w in enumerate([*tokens[at + 1 :], ""]) if w not in ("a", "an", "of"))
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
            (["half"], 0.5),
            (["quarter"], 0.25),
        ):
            if token not in _PARTS and tokens[at : at + len(words_of)] == words_of:
                amount, at = amount + math.copysign(part, amount), at + len(words_of)
                break
        out.append(amount)
        if tokens[at : at + 1] == ["step"]:  # "one step back": a length here, a verb elsewhere
            out.append("steps")
            at += 1
    return out


def _number(token: str) -> float:
    """A number as half of the world writes it, or as the other half does; ActionError where the two differ."""
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
        if word == "and" and is_hundreds and rest and (rest[0] in _ONES or rest[0] in _TENS):
            at, is_hundreds = at + 1, False
        elif word == "a" and at == 0:
            amount, at = 1.0, 1
        elif word == "hundred" and at <= 1:
            amount, at, is_hundreds = (amount or 1.0) * 100, at + 1, True
        elif word in _TENS and amount % 100 == 0 and (at == 0 or amount):
            amount, at = amount + _TENS[word], at + 1
        elif word in _ONES and (at == 0 or (amount and amount % (10 if 0 < _ONES[word] < 10 else 100) == 0)):
            if at and amount % 100 == 10:
                break
            amount, at = amount + _ONES[word], at + 1
        else:
            break
    if tokens[at : at + 1] == ["point"]:
        digits = ""
        for word in tokens[at + 1 :]:
            if _ONES.get(word, 10) > 9:
                break
            digits += str(_ONES[word])
        if digits:
            amount, at = float(f"{amount:g}.{digits}"), at + 1 + len(digits)
    return amount, at


def _clause_motion(clause: list[str | float], verb_before: str | None) -> tuple[str, Motion]:
    """One clause's verb and motion; a clause without a verb ("and right 10 degrees") repeats the verb before it."""
    verb = unit = amount = None
    ways: dict[str, str] = {}  # the direction, and the word for it
    is_soft = is_taken = False
    before: str | float = ""
    for token in clause:
        if isinstance(token, float):
            if amount is not None:
                raise ActionError(
                    f"two amounts in one part of the action, the second is {token:g}; join parts with 'and'"
                )
            if before == "to":
                raise ActionError(f"'to {token:g}' names a place or a heading, and amounts count from here: say 'by'")
            amount = token
        elif token in _VERB_OF and not (token == "back" and (verb or is_taken)):
            if verb:
                raise ActionError(f"two verbs, '{verb}' and '{token}', in one part; join the parts with 'and'")
            verb = _VERB_OF[token]
            ways |= {"back": token} if token == "back" else {}
        elif token in _DIRECTION_OF:
            ways.setdefault(_DIRECTION_OF[token], token)
        elif token in _ALL_UNITS:
            if not isinstance(before, float):
                raise ActionError(f"'{token}' without an amount before it; say for instance 'move forward 2 m'")
            unit = token
        elif token in FILLERS or token in _OTHER_FILLERS:
            is_soft = is_soft or token in SOFTENERS
        elif token == "take" and verb is None:
            is_taken = True
        else:
            raise ActionError(_unknown(token, has_verb=verb is not None or bool(ways)))
        before = token
    way = _one_way(ways)
    if is_taken and (verb or unit not in ("steps", "pace", "paces")):
        raise ActionError("'take' takes steps: say for instance 'take two steps back'")
    if verb is None and way is None and (verb_before or amount is not None):
        raise ActionError(f"'{_shown(clause)}' has no direction; say for instance '{_EXAMPLES[verb_before or 'move']}'")
    if is_taken:
        verb = "move"
    elif missing := _missing_verb(verb, way, verb_before, unit):
        verb = missing
    else:
        verb = verb or verb_before
    if verb is None:
        raise ActionError(f"no verb in '{_shown(clause)}'; known verbs: {', '.join(VERBS)}")
    return verb, _motion(verb, way, amount, unit, is_soft)


def _one_way(ways: dict[str, str]) -> str | None:
    """The direction of a clause. Raises ActionError where two are named; a way to turn around by is "around left"."""
    if ways.get("forward") in ("on", "straight") and len(ways) > 1:  # "straight back"
        ways = {way: word for way, word in ways.items() if way != "forward"}
    if set(ways) in ({"around", "left"}, {"around", "right"}):
        return f"around {next(way for way in ways if way != 'around')}"
    if len(ways) > 1:
        first, second, *_ = ways.values()
        raise ActionError(f"two directions, '{first}' and '{second}', in one part; name one, or join parts with 'and'")
    return next(iter(ways), None)


def _missing_verb(verb: str | None, way: str | None, verb_before: str | None, unit: str | None) -> str | None:
    """The verb that a bare direction stands for: "forward" and "2 m left" move, "left" turns."""
    if verb or verb_before or way is None:
        return None
    if unit and unit not in _ANGLES:
        return "move"
    return {"forward": "move", "back": "move", "up": "look", "down": "look"}.get(way, "turn")


def _motion(verb: str, way: str | None, amount: float | None, unit: str | None, is_soft: bool) -> Motion:
    if verb == "wait":
        if way or amount is not None:
            raise ActionError(f"'wait' takes no {'direction' if way else 'amount'}; one 'wait' is one frame")
        return Motion()
    is_length, is_around = verb in ("move", "strafe"), (way or "").startswith("around")
    if unit and (unit not in _ANGLES) != is_length:
        raise ActionError(f"'{verb}' by '{unit}': {verb} takes {'metres' if is_length else 'degrees'}")
    usual = STEP if is_length else (180.0 if is_around else TURN_DEG)
    size = usual * (0.5 if is_soft else 1.0) if amount is None else amount * _ALL_UNITS.get(unit or "m", 1.0)
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
        known = ", ".join(w for v, w in motions if v == verb and w and " " not in w)
        raise ActionError(f"'{verb}' {f'cannot go {way!r}' if way else 'needs a direction'}; it takes: {known}")
    return motions[verb, way]


_EXAMPLES = {
    "move": "move forward 2 m",
    "strafe": "strafe left 1 m",
    "turn": "turn left 30 degrees",
    "look": "look up",
    "wait": "wait",
}


def _shown(clause: list[str | float]) -> str:
    return " ".join(f"{token:g}" if isinstance(token, float) else token for token in clause)


def _unknown(token: str, *, has_verb: bool) -> str:
    if not token[0].isalnum():
        return f"unknown mark '{token}'; known are commas and full stops, and a minus sign before a number"
    if has_verb:
        return f"unknown word '{token}'; known directions: {', '.join(DIRECTIONS)}; units: m, cm, feet, steps, degrees"
    return f"unknown verb '{token}'; known verbs: {', '.join(VERBS)}"


_PHRASINGS = {
    "forward": (
        "move forward",
        "walk forward",
        "go forward",
        "step forward",
        "move ahead",
        "walk ahead",
        "advance",
        "go straight",
        "head forward",
        "walk on",
    ),
    "back": ("move back", "walk back", "go back", "step back", "move backward", "walk backwards", "back up"),
    "strafe left": ("strafe left", "sidestep left", "step left", "move left", "slide left"),
    "strafe right": ("strafe right", "sidestep right", "step right", "move right", "slide right"),
    "turn left": ("turn left", "rotate left", "pivot left", "turn to the left", "look left", "spin left"),
    "turn right": ("turn right", "rotate right", "pivot right", "turn to the right", "look right", "spin right"),
    "look up": ("look up", "tilt up", "look upward", "glance up"),
    "look down": ("look down", "tilt down", "look downward", "glance down"),
    "wait": ("wait", "stay", "stand still", "stay here", "pause", "rest"),
}


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
