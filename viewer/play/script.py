"""Action scripts: text files with one sentence per line, for walks without a person."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...world.action import Action, ActionError, parse_actions
from ...world.files import TextError, read_text


@dataclass(frozen=True)
class DreamAnew:
    """Not a step: the last dream is dreamt again, with the next seed."""


Deed = Action | DreamAnew
_ANEW = re.compile(r"dream\s+(it\s+)?(anew|again)", re.IGNORECASE)


def steps_of(sentence: str, *, is_free: bool = False) -> list[Deed]:
    """A sentence as steps of one frame, in order, or "dream anew". is_free: the world reads any words, and takes as
    one step what is not a motion, is one motion, or each of several motions."""
    if _ANEW.fullmatch(sentence.strip()):
        return [DreamAnew()]
    if not is_free:
        return [step for action in parse_actions(sentence) for step in action.split()]
    words = " ".join(sentence.split())
    if not words:
        raise ActionError("no words; say where to go or what to look at")
    try:
        first, *others = parse_actions(words)
        # the model reads what was said, in any words
        return [first, *others] if others else [Action(words, first.motion)]
    except ActionError:
        return [Action(words)]


def load_script(path: str | Path, *, is_free: bool = False) -> list[Deed]:
    """A file's actions in steps, as `steps_of` returns them; '#' starts a comment. ActionError names the wrong line."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, TextError) as error:
        raise ActionError(f"cannot read the actions in {path}: {getattr(error, 'strerror', None) or error}") from error
    actions: list[Deed] = []
    for number, line in enumerate(lines, 1):
        sentence = line.split("#")[0].strip()
        if not sentence:
            continue
        try:
            actions += steps_of(sentence, is_free=is_free)
        except ActionError as error:
            raise ActionError(f"{path}, line {number}: {error}") from error
    if not actions:
        raise ActionError(f"{path} holds no action; wanted one sentence a line, for instance 'move forward'")
    return actions
