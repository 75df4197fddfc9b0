"""The tables of the grammar: verbs, directions, units and numbers, each as models know it and as people write it."""

from __future__ import annotations

import math
import re

STEP = 0.3  # metres of a plain "move forward"
TURN_DEG = 15.0  # degrees of a plain "turn left"

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

# other words that people write, which models were not taught
OTHER_UNITS = {
    "mm": 0.001, "centimetre": 0.01, "centimetres": 0.01, "centimeter": 0.01, "centimeters": 0.01, "km": 1000.0,
    "millimetre": 0.001, "millimetres": 0.001, "millimeter": 0.001, "millimeters": 0.001,
    "kilometre": 1000.0, "kilometres": 1000.0, "kilometer": 1000.0, "kilometers": 1000.0,
    "ft": 0.3048, "foot": 0.3048, "feet": 0.3048, "inch": 0.0254, "inches": 0.0254, "yd": 0.9144, "yard": 0.9144,
    "yards": 0.9144, "steps": STEP, "pace": STEP, "paces": STEP, "rad": 180 / math.pi, "radian": 180 / math.pi,
    "radians": 180 / math.pi, "degs": 1.0, "turns": 360.0, "circle": 360.0, "circles": 360.0, "rotation": 360.0,
    "rotations": 360.0, "revolution": 360.0, "revolutions": 360.0, "rightangle": 90.0, "rightangles": 90.0,
}  # fmt: skip
OTHER_DIRECTIONS = {"clockwise": "right", "counterclockwise": "left", "anticlockwise": "left"}  # of turns, from above
OTHER_FILLERS = ("an", "my", "now", "just")
POLITE = frozenset(("please", "now", "just"))  # may stand alone between two commas
OTHER_MARKS = ("!", "?", "…")
OPEN_ENDED = ("to", "the", "your", "a", "by", "of", "an", "my")  # words that another one has to follow
OUT_OF_ORDER = ("after", "before", "first", "next", "while", "during", "meanwhile")
ALL_UNITS = UNITS | OTHER_UNITS
TURNS = ("turns", "circle", "circles", "rotation", "rotations", "revolution", "revolutions")  # without a verb, too
ANGLES = ("degree", "degrees", "deg", "degs", "rad", "radian", "radians", "rightangle", "rightangles", *TURNS)
STEPS = ("steps", "pace", "paces")
NOUNS = {"step": "steps", "turn": "turns"}  # units after an amount ("one step back", "half a turn"), verbs elsewhere
TAKING = ("take", "make", "do")  # verbs of steps and turns: "take two steps back", "make a left turn"
ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
PARTS = {"half": 0.5, "quarter": 0.25, "full": 1.0, "whole": 1.0}  # when a unit is named
FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75, "⅓": 1 / 3, "⅔": 2 / 3}
SPELLED_PARTS = {
    ("one", "half"): 0.5,
    ("one", "quarter"): 0.25,
    ("three", "quarter"): 0.75,
    ("three", "quarters"): 0.75,
    ("one", "third"): 1 / 3,
    ("two", "thirds"): 2 / 3,
    ("a", "third", "of"): 1 / 3,  # not "a third step"
}
AND_PARTS = {("a", "half"): 0.5, ("a", "quarter"): 0.25, ("a", "third"): 1 / 3}  # "two and a half"
SLASHED = {"1/2": "½", "1/4": "¼", "3/4": "¾", "1/3": "⅓", "2/3": "⅔"}
PHRASES = (  # as people write them, and in words that are read
    (re.compile(r"\b(go|head|move|step|walk) back up\b"), r"\1 back upward"),  # two directions
    (re.compile(r"\bback up\b"), "back"),
    (re.compile(r"(?<=\d)-(?=(?:degree|deg|metre|meter|foot|step)\b)"), " "),  # "a 90-degree turn"
    (re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])"), " "),  # "twenty-five"
    (re.compile(r"\b(counter|anti) clockwise\b"), r"\1clockwise"),
    (re.compile(r"\bright angle(s?)\b"), r"rightangle\1"),
    (re.compile(r"\b(?:about (?:face|turn)|u turn)\b"), "turn around"),
    (re.compile(r"\b(?:do|make) an? (180|360)\b"), r"turn around \1"),
    (re.compile(rf"(?<![\d.,/])(?:{'|'.join(SLASHED)})(?![\d/]|[.,]\d)"), lambda found: f" {SLASHED[found[0]]} "),
)
MARKS = str.maketrans(
    {mark: "°" for mark in "º˚∘"}
    | {mark: "-" for mark in "−–‐‑﹣"}
    | {mark: " " for mark in "“”„«»‹›"}
    | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | {"‘": "'", "’": "'", "′": "'", "″": '"'}
    | {mark: f" {mark} " for mark in FRACTIONS}
    | {"。": " . ", "、": " , "}  # apart from a number beside them: they are no decimal marks
)

VERB_OF = {word: verb for verb, words in VERBS.items() for word in words}
DIRECTION_OF = {word: way for way, words in DIRECTIONS.items() for word in words}
_NUMBER = r"\d+(?:[.,]\d+)*|\.\d+"
TOKEN = re.compile(rf"(?<![\w.,])-(?:{_NUMBER})|{_NUMBER}|[^\W\d_]+|[^\w\s]|_")
PLAIN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
MAX_TEXT = 400
MOST = 1000.0  # metres or degrees of one sentence


class ActionError(ValueError):
    """An action sentence that cannot be understood; the message says what came, what is known, what to do."""
