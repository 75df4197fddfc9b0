"""The words for an environment's actions: a small table, given in a file or derived.

An entry says what to do once, and, if the environment moves a camera, how far that goes in metres and degrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...world.action import Action, ActionError, say
from ...world.files import parse_json, read_text
from ...world.pose import Motion
from ..scene import SceneError

MOST_REPEATS = 24  # of one entry in one step
# the words of a viewer's keys, and what environments without a camera call the same
_KEYS = {
    "move forward": ("move up", "up", "forward"),
    "move back": ("move down", "down", "back"),
    "turn left": ("move left", "left"),
    "turn right": ("move right", "right"),
    "strafe left": ("move left", "left"),
    "strafe right": ("move right", "right"),
    "wait": ("noop", "stay"),
}


@dataclass(frozen=True)
class Word:
    """A sentence, the value that the environment takes for it, and the motion of the camera, or None."""

    text: str
    value: int | Sequence[float]
    motion: Motion | None = None


@dataclass(frozen=True)
class Table:
    """The words of an environment, each once."""

    words: tuple[Word, ...]

    def __post_init__(self):
        if not self.words:
            raise SceneError("a table of words without words; wanted at least one action")

    @property
    def moving(self) -> tuple[Word, ...]:
        """The words that move the camera, or all of them if none is known to."""
        return tuple(word for word in self.words if word.motion is not None) or self.words

    def find(self, action: Action) -> tuple[Word, int]:
        """The word that an action says or means, and how often to do it. Raises ActionError if there is none."""
        text = _plain(action.text)
        known = {_plain(word.text): word for word in self.words}
        if text in known:
            return known[text], 1
        if action.motion is not None and (found := self._by_motion(action.motion)):
            return found
        for other in _KEYS.get(text, ()):
            if other in known:
                return known[other], 1
        raise ActionError(f"'{action.text}' is nothing that can be done here; known: {', '.join(known)}")

    def _by_motion(self, motion: Motion) -> tuple[Word, int] | None:
        """The word with the same direction, repeated to come nearest to a motion of one kind."""
        parts = {name: amount for name, amount in vars(motion).items() if amount}
        if len(parts) != 1:
            return None
        name, amount = next(iter(parts.items()))
        for word in self.words:
            if word.motion is None:
                continue
            once = getattr(word.motion, name)
            if once * amount > 0 and not any(v for k, v in vars(word.motion).items() if k != name):
                return word, max(1, min(MOST_REPEATS, round(amount / once)))
        return None

    def as_list(self) -> list:
        """What `from_list` reads."""
        return [
            [word.text, word.value, None if word.motion is None else list(vars(word.motion).values())]
            for word in self.words
        ]

    @staticmethod
    def from_list(rows: list) -> Table:
        return Table(
            tuple(Word(text, value, None if motion is None else Motion(*motion)) for text, value, motion in rows)
        )


def read_table(path: str | Path) -> Table:
    """A table from a JSON file: {"open the door": 5, "turn left": {"do": 0, "yaw_deg": 15}}; amounts are those of a
    Motion (forward, right, yaw_deg, pitch_deg). Raises SceneError."""
    try:
        held = parse_json(read_text(path))
        words = []
        for text, told in held.items():
            amounts = dict(told) if isinstance(told, dict) else {"do": told}
            value = amounts.pop("do")
            words.append(Word(text, value, Motion(**amounts) if amounts else None))
        return Table(tuple(words))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(
            f"{path} is no table of words ({error}); wanted for instance "
            '{"turn left": {"do": 0, "yaw_deg": 15}, "open the door": 5}'
        ) from error


def derived(env) -> Table:
    """The table from an environment's own names: of its enumeration of actions, of what it calls them, else their
    numbers. Raises SceneError if its actions are not numbered."""
    own = env.unwrapped
    names = _names(own)
    count = getattr(env.action_space, "n", None)
    if count is None:
        raise SceneError(f"its actions are {env.action_space}, which no words can be derived for: give a table")
    names = names[: int(count)] if len(names) >= count else [f"action {k}" for k in range(int(count))]
    return Table(tuple(_word(own, name, k) for k, name in enumerate(names)))


def _names(own) -> list[str]:
    for name in ("action_names", "get_action_meanings", "actions"):
        held = getattr(own, name, None)
        if callable(held) and not isinstance(held, type):
            held = held()
        if isinstance(held, Iterable):
            return [_plain(getattr(entry, "name", str(entry))) for entry in held]
    return []


def _word(own, name: str, value: int) -> Word:
    """A word with its motion by Miniworld's parameters; for other environments the motion is unknown."""
    held = getattr(getattr(own, "params", None), "params", {})
    if not {"turn_step", "forward_step"} <= set(held):
        return Word(name, value)
    turn, step = (float(held[key].default) for key in ("turn_step", "forward_step"))
    motion = {
        "turn left": Motion(yaw_deg=turn),
        "turn right": Motion(yaw_deg=-turn),
        "move forward": Motion(forward=step),
        "move back": Motion(forward=-step),
    }.get(name)
    return Word(name if motion is None else say(motion), value, motion)


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("_", " ").split())
