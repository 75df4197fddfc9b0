"""What is drawn over and under the picture: status lines, notes, the text box, the help page. Draws; decides
nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...world.pose import Pose
from .sdl import pygame
from .textbox import TextBox

# in pixels
STRIP_HEIGHT = 56  # height of the two lines under the picture
_PAD = 12  # between what is drawn and the edge of the picture
_LINE = 18  # from one line of small letters to the next
_ROUND = 8  # radius of a panel's corners
_LARGE, _SMALL = 24, 20  # heights of letters
_HELP_WIDTH, _HELP_LINE = 430, 23  # of the help page, if there is room
# red, green, blue, and opacity if that is less than 255
_STRIP, _PANEL, _EDGE = (20, 22, 27), (12, 14, 18, 215), (255, 255, 255, 40)
_TEXT, _DIM, _WORDS, _WARNING, _RED = (232, 234, 237), (154, 160, 166), (124, 196, 255), (255, 183, 77), (255, 92, 92)
HELP = {
    "forward": "walk forward",
    "back": "walk back",
    "strafe left": "step left",
    "strafe right": "step right",
    "turn left": "turn left",
    "turn right": "turn right",
    "look up": "look up",
    "look down": "look down",
    "type": "type what to do",
    "pause": "pause",
    "rewind": "go back in time",
    "dream anew": "dream the unseen anew",
    "fork": "branch off here",
    "branch 1": "walk on in that branch",
    "close branch": "close this branch",
    "new world": "next world",
    "save": "save",
    "load": "load the last save",
    "screenshot": "save a picture",
    "record": "record a video",
    "hud": "hide or show the map",
    "between": "views between frames, on or off",
    "help": "this page",
    "quit": "free the mouse, then quit",
}


@dataclass(frozen=True)
class Status:
    """The contents of the status lines. words: the last that were sent; queued: steps of typed commands still to do.

    key_to_frame_ms: p50 and p95 from a key event to its frame on screen, or None before the first. is_between: whether
    the picture is not a frame but a view of memory between frames; key_to_view_ms: p50 from a key event to the first
    such view.
    """

    words: str
    frames_per_s: float
    step_ms: float
    key_to_frame_ms: tuple[float, float] | None
    index: int
    pose: Pose | None
    world: str
    queued: int
    is_paused: bool
    is_recording: bool
    is_cut_off: bool = False
    is_between: bool = False
    key_to_view_ms: float | None = None


class Hud:
    """Draws onto a surface with fonts of its own."""

    def __init__(self):
        self._large, self._small = pygame.font.Font(None, _LARGE), pygame.font.Font(None, _SMALL)

    def draw_strip(self, surface: pygame.Surface, strip: pygame.Rect, status: Status) -> None:
        """The two lines under the picture: the words sent and the speed; the walker's pose and state."""
        pygame.draw.rect(surface, _STRIP, strip)
        top, low = strip.top + 9, strip.top + 33
        right = self._write(surface, _speed(status), (strip.right - _PAD, top + 2), self._small, _TEXT, from_right=True)
        left = strip.left + _PAD
        self._write(surface, status.words or "ready", (left, top), self._large, _WORDS, until=right.left - _PAD)
        flags = self._draw_flags(surface, (strip.right - _PAD, low), status)
        self._write(surface, _where(status), (left, low), self._small, _DIM, until=flags - _PAD)

    def draw_notes(self, surface: pygame.Surface, area: pygame.Rect, notes: Sequence[str]) -> None:
        """Sentences for the walker, one chip below the other from the top left."""
        top = area.top + _PAD
        for note in notes:
            lines = self._wrapped(note, area.width - 4 * _PAD, self._small)
            width = max(self._small.size(line)[0] for line in lines)
            chip = pygame.Rect(area.left + _PAD, top, width + 20, _LINE * len(lines) + 10)
            _draw_panel(surface, chip)
            for row, line in enumerate(lines):
                self._write(surface, line, (chip.left + 10, chip.top + 6 + _LINE * row), self._small, _TEXT)
            top = chip.bottom + 6

    def draw_text_box(self, surface: pygame.Surface, area: pygame.Rect, box: TextBox) -> None:
        """The line being typed, at the bottom of the picture, and above it what was wrong with it."""
        lines = self._wrapped(box.error, area.width - 4 * _PAD, self._small) if box.error else []
        hint = "" if box.text or lines else "walk forward 2 m, turn left 90 degrees, seed 12"
        panel = pygame.Rect(area.left + _PAD, 0, area.width - 2 * _PAD, 38 + _LINE * len(lines))
        panel.bottom = area.bottom - _PAD
        _draw_panel(surface, panel)
        for row, line in enumerate(lines):
            self._write(surface, line, (panel.left + 12, panel.top + 8 + _LINE * row), self._small, _WARNING)
        at = (panel.left + 12, panel.bottom - 27)
        typed = self._write(surface, box.text, at, self._large, _TEXT, until=panel.right - 20)
        pygame.draw.rect(surface, _WORDS, (typed.right + 2, panel.bottom - 29, 2, 20))
        self._write(surface, hint, (at[0] + 10, at[1]), self._large, _DIM, until=panel.right - 12)

    def draw_help(self, surface: pygame.Surface, area: pygame.Rect, keys: Mapping[str, tuple[str, ...]]) -> None:
        """The page that names every key, in the form of `shown`."""
        rows = [(_on_keyboard(keys[command]), told) for command, told in HELP.items()]
        rows = [(names, told) for names, told in rows if names] + [("Mouse", "click to look around")]
        step = min(_HELP_LINE, (area.height - 4 * _PAD) // (len(rows) + 1))
        panel = pygame.Rect(0, 0, min(_HELP_WIDTH, area.width - 2 * _PAD), step * len(rows) + 2 * _PAD)
        panel.center = area.center
        _draw_panel(surface, panel)
        for row, (names, told) in enumerate(rows):
            top = panel.top + _PAD + step * row + 3
            self._write(surface, names, (panel.left + 18, top), self._small, _WORDS)
            self._write(
                surface, told, (panel.left + panel.width * 2 // 5, top), self._small, _TEXT, until=panel.right - 8
            )

    def _draw_flags(self, surface: pygame.Surface, at: tuple[int, int], status: Status) -> int:
        """Write the states from the right; returns how far to the left they reach."""
        flags = [(f"{status.queued} to go", _WORDS)] if status.queued else []
        flags += [("CONNECTION LOST", _RED)] if status.is_cut_off else []
        flags += [("PAUSED", _WARNING)] if status.is_paused else []
        flags += [("REC", _RED)] if status.is_recording else []
        flags += [("from memory", _WARNING)] if status.is_between else []
        flags.append((status.world, _DIM))
        right = at[0]
        for text, color in reversed(flags):
            right = self._write(surface, text, (right, at[1]), self._small, color, from_right=True).left - _PAD
        return right

    def _write(self, surface, text: str, at, font, color, *, from_right: bool = False, until: int | None = None):
        """Write one line at its top left (or top right) corner; one that would pass `until` is cut at its beginning."""
        text = _drawable(text)
        if until is not None:
            while len(text) > 1 and at[0] + font.size(text)[0] > until:
                text = "…" + text[2:]
        image = font.render(text, True, color)
        rect = image.get_rect(topright=at) if from_right else image.get_rect(topleft=at)
        surface.blit(image, rect)
        return rect

    def _wrapped(self, text: str, width: int, font) -> list[str]:
        lines = [""]
        for word in _drawable(text).split():
            longer = f"{lines[-1]} {word}".strip()
            if font.size(longer)[0] <= width:
                lines[-1] = longer
            else:
                lines.append(word)
        return [line for line in lines if line] or [""]


def _drawable(text: str) -> str:
    """A text with a placeholder for what fonts cannot draw: file names may have any bytes, and sentences may be
    pasted."""
    marks = (mark if mark.isprintable() else " " if mark.isspace() else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return "".join(marks)


def _where(status: Status) -> str:
    place = f"frame {status.index}"
    if status.pose is None:
        return place
    x, y, _ = status.pose.position
    yaw_deg, pitch_deg = round(status.pose.yaw_deg) % 360, round(status.pose.pitch_deg)
    return f"{place}   x {x:.1f} y {y:.1f} m   heading {yaw_deg}°" + (f"   pitch {pitch_deg}°" if pitch_deg else "")


def _speed(status: Status) -> str:
    if not status.step_ms:
        return ""
    if status.key_to_frame_ms is None:
        return f"{status.frames_per_s:.1f} frames/s   {status.step_ms:.0f} ms a step"
    p50, p95 = status.key_to_frame_ms
    view = "" if status.key_to_view_ms is None else f"key to view {status.key_to_view_ms:.0f} ms, "
    return f"{status.frames_per_s:.1f} frames/s   {view}key to frame {p50:.0f} ms, p95 {p95:.0f} ms"


def _on_keyboard(keys: Sequence[str]) -> str:
    """The names of a command's keys; the gamepad's are left out, because every gamepad has its own numbers."""
    names = " or ".join(key for key in keys if not key.startswith("Pad "))
    return "1 to 9" if names == "1" else names


def shown(key: str) -> str:
    """A key's name as it is printed on the keyboard."""
    return "Enter" if key == "return" else key.title()


def _draw_panel(surface: pygame.Surface, rect: pygame.Rect) -> None:
    panel = pygame.Surface((max(1, rect.width), max(1, rect.height)), pygame.SRCALPHA)  # a tiny window has no room
    pygame.draw.rect(panel, _PANEL, panel.get_rect(), border_radius=_ROUND)
    pygame.draw.rect(panel, _EDGE, panel.get_rect(), width=1, border_radius=_ROUND)
    surface.blit(panel, rect)
