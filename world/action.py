"""Sentences as actions: a sentence becomes an Action, the text that a model reads and the Motion that it stands for.

Nothing here knows a model or a key. The grammar is one table of verbs and one of directions, so that the parser, the
error messages, the training text and the model's word list cannot disagree. Other forms that people write (feet, number
words, decimal commas, punctuation) are read too, and passed to the model in its own words. A sentence is understood
completely or refused: what could mean two things is refused, naming the word.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from .pose import Motion, Pose
from .words.clauses import Said, clauses_of, motion_of
from .words.doubts import check_amounts, check_together, check_units
from .words.grammar import (
    DIRECTION_OF,
    FILLERS,
    JOINERS,
    MAX_TEXT,
    MOST,
    PLAIN_NUMBER,
    STEP,
    TOKEN,
    TURN_DEG,
    UNITS,
    VERB_OF,
    VERBS,
    ActionError,
)
from .words.order import acts_in


@dataclass(frozen=True)
class Action:
    """One step's command: `text`, all that a model reads, and `motion`, what it means in metres and degrees.

    `motion` is None for free words ("open the door") that have a meaning only to a model that knows them. `at`: a pose
    from which the action is to dream what nobody has seen, without moving the walker (`dream_at`).
    """

    text: str
    motion: Motion | None = None
    at: Pose | None = None

    @property
    def known_motion(self) -> Motion:
        """The motion, for a world where words without one mean nothing. Raises ActionError for those."""
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
    """The one Action of an English sentence; its parts, joined by "and" or commas, add up.

    Its text is the sentence, or plain words for it if the sentence has words that models were not taught. Raises
    ActionError, naming what is known, for an empty sentence, an unknown word, a direction that the verb cannot take,
    two directions in one part, parts that cancel each other, an amount that is no number or may be two, a unit of the
    wrong kind, or parts in sequence, which `parse_actions` reads.
    """
    first, *others = parse_actions(text)
    if others:
        raise ActionError(
            f"'{text[:60]}' is {1 + len(others)} acts, one after the other, and one is wanted here: say one of them, "
            f"for instance '{first.text[:60]}'"
        )
    return first


def parse_actions(text: str) -> list[Action]:
    """The Actions of an English sentence in their order: "turn left 90 degrees, then walk 2 m" has two, and so have
    two sentences. At least one; each as from `parse_action`, with the same errors."""
    if len(text) > MAX_TEXT:
        raise ActionError(f"action of {len(text)} characters; at most {MAX_TEXT} are read: say less at once")
    text = " ".join("".join(mark for mark in text if not _is_unseen(mark)).split())
    acts = [(act, clauses) for act in acts_in(text) if (clauses := clauses_of(act))]
    if not acts:
        raise ActionError(f"empty action; say for instance 'move forward', known verbs: {', '.join(VERBS)}")
    actions, said = [], None
    spoken: list[tuple[list[str | float], Motion]] = []  # every clause so far, and what it means
    for act, clauses in acts:
        parts, said = _parts_of(act, clauses, said)
        if spoken:
            check_amounts(*spoken[-1], clauses[0], parts[0], is_later=True)
        spoken += zip(clauses, parts, strict=True)
        motion = sum(parts, Motion())
        words = text if len(acts) == 1 else act if _stands_alone(act, motion) else say(motion)
        actions.append(Action(words if _is_plain(words) else say(motion), motion))
    check_units(*zip(*spoken, strict=True))
    for name in vars(Motion()):
        if sum(abs(getattr(action.known_motion, name)) for action in actions) > MOST:
            raise ActionError(f"'{text[:60]}' adds up to more than {MOST:g} metres or degrees: say less at once")
    return actions


def _is_unseen(mark: str) -> bool:
    """Whether a character is invisible and changes nothing that is shown. Overrides of text direction do change that:
    with them 09 is shown as 90."""
    return unicodedata.category(mark) == "Cf" and mark not in "\u202d\u202e"


def _parts_of(act: str, clauses: list[list[str | float]], said: Said | None) -> tuple[list[Motion], Said | None]:
    """The motions of one act's clauses, and the context that the next act continues from."""
    parts = []
    for number, clause in enumerate(clauses):
        said, part = motion_of(clause, said, begins_act=number == 0)
        parts.append(part)
    if say(sum(parts, Motion())) == "wait" and any(say(part) != "wait" for part in parts):
        raise ActionError(f"the parts of '{act[:60]}' undo each other; leave some out, or say 'wait'")
    check_together(clauses, parts)
    return parts, said


def _stands_alone(act: str, motion: Motion) -> bool:
    """Whether an act means the same without the words before it."""
    try:
        return sum(_parts_of(act, clauses_of(act), None)[0], Motion()) == motion
    except ActionError:
        return False


def dream_at(pose: Pose) -> Action:
    """The action that dreams what is unknown from a pose, while the walker stays where it is."""
    x, y, z = pose.position
    return Action(f"dream what is seen from {x:.2f}, {y:.2f}, {z:.2f}", at=pose)


def say(motion: Motion) -> str:
    """The plain sentence for a motion, which `parse_action` reads back to the same motion within rounding: to
    hundredths of a metre and of a degree; smaller amounts are left out."""
    sides = (
        (motion.forward, "move forward", "move back", STEP, "metres"),
        (motion.right, "strafe right", "strafe left", STEP, "metres"),
        (motion.yaw_deg, "turn left", "turn right", TURN_DEG, "degrees"),
        (motion.pitch_deg, "look up", "look down", TURN_DEG, "degrees"),
    )
    parts = [
        _phrase(there if amount > 0 else back, amount, usual, unit)
        for amount, there, back, usual, unit in sides
        if round(abs(amount), 2) > 0
    ]
    return " and ".join(parts) or "wait"


def sayings(action: Action) -> Iterator[str]:
    """Ever shorter sentences for an action whose words say its motion and nothing else, for models that read little
    per step: rounded to tenths of a metre and to degrees, then without the smallest parts, one after the other. Free
    words have none, because a shorter sentence would say something else."""
    motion = action.motion
    if motion is None or action.text != say(motion):
        return
    sizes = {"forward": (STEP, 1), "right": (STEP, 1), "yaw_deg": (TURN_DEG, 0), "pitch_deg": (TURN_DEG, 0)}
    parts = sorted(sizes, key=lambda name: -abs(getattr(motion, name)) / sizes[name][0])
    for count in range(len(parts), 0, -1):
        yield say(Motion(**{name: round(getattr(motion, name), sizes[name][1]) for name in parts[:count]}))


def words() -> tuple[str, ...]:
    """Every word of the grammar, sorted: the word list of a text tokenizer that must know each in one id."""
    known = set(VERB_OF) | set(DIRECTION_OF) | set(UNITS) | set(FILLERS) | set(JOINERS) | {"°"}
    return tuple(sorted(known))


def _phrase(verb: str, amount: float, usual: float, unit: str) -> str:
    if abs(abs(amount) - usual) < 1e-6:
        return verb
    number = f"{abs(amount):.2f}".rstrip("0").rstrip(".")
    return f"{verb} {number} {unit}"


def _is_plain(text: str) -> bool:
    """Whether all of its words are in the models' word list. There "turn" is a verb and no unit ("1 turn left")."""
    known = set(words())
    is_known = all(token in known or PLAIN_NUMBER.fullmatch(token) for token in TOKEN.findall(text.lower()))
    return is_known and not re.search(r"\d\s*turn\b", text.lower())


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
