"""Splits a text into acts that follow each other in time: at "then", and at the end of a sentence."""

from __future__ import annotations

import re

from .grammar import ALL_UNITS, DIRECTION_OF, MARKS, OTHER_DIRECTIONS, ActionError

_SHORT_UNITS = ("m", "cm", "mm", "km", "ft", "yd", "deg", "degs", "rad")
_WAYS = "|".join(DIRECTION_OF | OTHER_DIRECTIONS)
_SHORTENED = re.compile(  # "2 ft. forward"
    rf"(?:\d|\ba)\s*({'|'.join(_SHORT_UNITS)})\.\s+(?:(?:to|the|your)\s+)*({_WAYS})\b"
)
_NEXT = re.compile(
    r"\b(?:then|next(?!\s+to\b)|after\s+(?:that|this)|afterwards?|followed\s+by|finally|lastly)\b"
    rf"|[!?…;]+|\.\.+|\.(?!\d|\s+(?:{'|'.join(ALL_UNITS)})\b)"  # the marks of "0.5" and "5. m" end no act
)
_FIRST = re.compile(r"^\W*(?:at\s+)?first(?:ly)?(?:\s+of\s+all)?\b")
_FIRST_AT_THE_END = re.compile(r"\s+first\W*$")
_BROKEN_OFF = re.compile(r"\w\W*\s(and(?:\s+then)?|followed\s+by)[\W_]*$")
_JOINED = re.compile(r"\band\b|[,&]")
_EDGES = re.compile(r"^(?:[\s,&:]|and\b)+|(?:[\s,&]|\band)+$")


def acts_in(text: str) -> list[str]:
    """The parts of a sentence that follow each other in time, in lower case, without the words between them; empty
    if there are no words. Raises ActionError for a question, for a text that breaks off, and if a full stop may end
    a sentence or only a unit."""
    text = text.translate(MARKS).lower()
    if shortened := _SHORTENED.search(text):
        unit, way = shortened.groups()
        raise ActionError(f"'{unit}.' before '{way}' may end a sentence or not: leave the full stop out, or add a verb")
    if broken := _BROKEN_OFF.search(text):
        raise ActionError(f"'{text[-60:].strip()}' breaks off after '{broken[1]}': say it whole, or leave that out")
    if "?" in text:
        raise ActionError("a question is not acted on: to have it done, say it without the question mark")
    first, *others = (_EDGES.sub("", act) for act in _NEXT.split(text))
    return [act for act in (_EDGES.sub("", _without_first(first)), *others) if act]


def _without_first(act: str) -> str:
    """A leading "first" only confirms the order, so it is dropped; elsewhere the word is unknown."""
    act = _FIRST.sub("", act)
    return act if _JOINED.search(act) else _FIRST_AT_THE_END.sub("", act)
