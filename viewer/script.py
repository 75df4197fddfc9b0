"""Action scripts: text files with one sentence a line, for walks that nobody types."""

from __future__ import annotations

from pathlib import Path

from ..world.action import Action, ActionError, parse_action


def load_script(path: str | Path) -> list[Action]:
    """A file's actions in frame-sized steps; '#' starts a comment. ActionError names the line that is wrong."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ActionError(f"cannot read the actions in {path}: {getattr(error, 'strerror', None) or error}") from error
    actions: list[Action] = []
    for number, line in enumerate(lines, 1):
        sentence = line.split("#")[0].strip()
        if not sentence:
            continue
        try:
            actions += parse_action(sentence).split()
        except ActionError as error:
            raise ActionError(f"{path}, line {number}: {error}") from error
    if not actions:
        raise ActionError(f"{path} holds no action; wanted one sentence a line, for instance 'move forward'")
    return actions
