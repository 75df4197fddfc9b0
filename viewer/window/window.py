"""The window: turns pygame events into the player's actions, and draws the player's frames.

Driven by the event queue only, so that posted events work like a keyboard. Steps run on the player's thread and wake
the window when they end, so a slow model or a lost connection never blocks it.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Sequence

import numpy as np

from ..files.outputs import fresh, write_whole
from ..play.between import Between
from ..play.keymap import BRANCH_KEYS, MOTIONS, KeymapError
from ..play.player import Player
from .branch_strip import draw_branches
from .gamepad import Gamepads
from .hud import STRIP_HEIGHT, Hud, Status, shown
from .keyboard import Keyboard
from .minimap import SIDE, draw_minimap
from .sdl import pygame
from .textbox import TextBox

STEPS_PER_S = 10  # at most: a faster world is slowed to this, or walking would be running
_IDLE_S = 0.1  # how long the window sleeps while nothing happens
_STEPPED = pygame.USEREVENT
_NOTE_S = 4.0  # how long a note is shown
_MOST_NOTES = 5  # at once
_MAP_GAP = 12  # pixels between the map and the corner
_BOX_HEIGHT = 60  # height of the text box in pixels
_BACKGROUND = (10, 11, 14)  # red, green, blue
LARGEST = 1280  # size in pixels of a window that opens


class WindowError(ValueError):
    """The display refuses a window."""


class Window:
    """Shows a player's walk and lets a person steer it. Raises WindowError if no window can be opened, KeymapError for
    keys that no keyboard has.

    waits: whether `tick` waits for the step that it begins, which makes a walk by posted events repeatable.
    """

    def __init__(self, player: Player, *, scale: int = 5, steps_per_s: float = STEPS_PER_S, waits: bool = False):
        self.player = player
        self.box = TextBox()
        self.is_open = True
        self.is_help_shown = False
        self.is_map_shown = True
        self.is_mouse_held = False
        self.between = Between(is_on=not waits)
        self.notes: list[tuple[float, str]] = []
        self._waits = waits
        self._step_s = 1 / steps_per_s
        self._next_step_s = 0.0
        self._was_cut_off = False
        self._scaled: tuple[tuple, pygame.Surface] | None = None
        self._view: np.ndarray | None = None  # shown instead of the frame, until the next one
        self._open_screen(scale)
        self._hud, self._pads, self._keyboard = Hud(), Gamepads(), Keyboard(player.held.keymap.printed)
        self._check_keys()
        self._note(f"{self._keys_of('help')} shows the keys, {self._keys_of('type')} opens a line to type in")
        self._draw()

    def run(self, *, until_idle: bool = False, stop: Callable[[], bool] = lambda: False) -> None:
        """Walk until the window is closed, until `stop` says so or, with `until_idle`, until nothing is queued."""
        while self.is_open and not stop() and (self.player.queued or self.player.is_busy or not until_idle):
            self.tick(self._next_event())

    def tick(self, first: Sequence[pygame.event.Event] = ()) -> None:
        """Handle all events, show the step that has ended, begin one if one is wanted and due, and draw what is new."""
        events = [*first, *pygame.event.get()]
        for event in events:
            self._handle(event)
        has_stepped = self._finish()
        if self.is_open and time.monotonic() >= self._next_step_s:
            has_stepped |= self._begin()
        if self.is_open and not has_stepped and self._show_between():
            return
        # a model on the same cores can use the time that drawing would take
        if not has_stepped and (events or self._has_news()):
            self._draw()

    def _next_event(self) -> list[pygame.event.Event]:
        """Sleep until there is an event, including the end of a step, or until the next step is due."""
        due_s = self._next_step_s - time.monotonic()
        idle_s = _IDLE_S if self.player.is_busy or due_s <= 0 else min(_IDLE_S, due_s)
        idle_s = min(idle_s, self.between.wait_s) if self.between.is_leading else idle_s
        event = pygame.event.wait(max(1, round(1000 * idle_s)))
        return [] if event.type == pygame.NOEVENT else [event]

    def close(self) -> None:
        """Release the mouse and close the window; the player stays open."""
        self._hold_mouse(False)
        pygame.display.quit()

    @property
    def picture(self) -> pygame.Surface:
        """The whole window as it is shown, at its present size."""
        surface = pygame.display.get_surface()
        assert surface is not None, "the window has been closed"
        return surface

    def _open_screen(self, scale: int) -> None:
        height, width = self.player.frame.pixels.shape[:2]
        scale = max(1, min(scale, LARGEST // max(height, width)))  # large frames need no enlarging
        try:
            pygame.display.init()
            pygame.font.init()
            pygame.display.set_caption("Roam")
            pygame.display.set_mode((width * scale, height * scale + STRIP_HEIGHT), pygame.RESIZABLE)
        except pygame.error as error:
            raise WindowError(f"no window can be opened ({error}); `roam play --headless` needs none") from error
        if pygame.display.get_driver() == "offscreen" and not os.environ.get("SDL_VIDEODRIVER"):
            pygame.display.quit()  # SDL's invisible fallback driver
            raise WindowError("no window can be opened (no display lets us in); `roam play --headless` needs none")
        pygame.key.stop_text_input()

    def _check_keys(self) -> None:
        if unknown := self._keyboard.unknown():
            pygame.display.quit()
            raise KeymapError(
                f"no key is called '{unknown[0]}'; keys are called for instance 'w', 'space', 'left shift', 'page up', "
                "'pad 0', 'pad axis 1 -', 'pad hat up'"
            )

    def _begin(self) -> bool:
        """Begin a step if one is wanted; returns whether a frame was shown."""
        began, index = time.monotonic(), self.player.frame.index
        if not self.player.begin(_wake):
            return index != self.player.frame.index and self._show(began)  # rewound
        self._next_step_s = began + self._step_s
        if self._waits:
            self.player.wait()
        return self._waits and self._finish()

    def _finish(self) -> bool:
        """Show the step that has ended, if one has."""
        return self.player.finish() is not None and self._show()

    def _show(self, began: float | None = None) -> bool:
        self._next_step_s = self._next_step_s if began is None else began + self._step_s
        self._view = None
        self._draw()
        self.player.key_to_frame.shown()
        self.player.key_to_view.shown()  # of a press without a view before its frame
        self.player.settle()
        return True

    def _show_between(self) -> bool:
        """Show a view between frames, if one is due; back to the frame when nobody moves any more."""
        view = self.between.view(self.player, self._step_s)
        if view is None:
            if self._view is not None and not self.between.is_leading:
                self._view = None
                self._draw()
                return True
            return False
        self._view = view
        self._draw()
        self.player.key_to_view.shown()
        return True

    def _has_news(self) -> bool:
        is_changed, self._was_cut_off = self._was_cut_off != self.player.is_cut_off, self.player.is_cut_off
        if is_changed:
            self._note(self._lost() if self._was_cut_off else "connected again")
        return is_changed or bool(self.player.notes) or any(until < time.monotonic() for until, _ in self.notes)

    def _lost(self) -> str:
        said = self.player.farewell
        return f"goodbye from the server: {said}" if said else "the connection is lost; taking it up again"

    def _handle(self, event: pygame.event.Event) -> None:
        if event.type == pygame.QUIT:
            self.is_open = False
        elif event.type == pygame.KEYDOWN:
            key = self._keyboard.pressed(event)
            self._type(pygame.key.name(event.key)) if self.box.is_open else self._press(key)
        elif event.type == pygame.KEYUP:
            self._release(self._keyboard.released(event))
        elif event.type == pygame.TEXTINPUT and self.box.is_open:
            self.box.insert(event.text)
        elif event.type == pygame.MOUSEMOTION and self.is_mouse_held:
            self.player.held.turn_mouse(*event.rel)
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 and not self.box.is_open:
            self._hold_mouse(True)
        elif event.type == pygame.WINDOWFOCUSLOST:
            self.player.held.release_all()
        for key, is_down in self._pads.changes(event):
            self._press(key) if is_down and not self.box.is_open else self._release(key)

    def _press(self, key: str) -> None:
        command = self.player.held.keymap.command(key)
        if command in MOTIONS or command == "rewind":
            self.player.held.press(command)
            self.player.key_to_frame.pressed()
            if command in MOTIONS:
                self.player.key_to_view.pressed()
        elif command in BRANCH_KEYS:
            self._try(lambda: self.player.switch(int(command.split()[1]) - 1))
        elif command:
            self._commands[command]()

    def _release(self, key: str) -> None:
        self.player.held.release(self.player.held.keymap.command(key) or "")

    @property
    def _commands(self) -> dict[str, Callable[[], None]]:
        return {
            "type": self._open_box,
            "pause": self._pause,
            "save": lambda: self._try(self.player.save),
            "load": lambda: self._try(self.player.load),
            "screenshot": lambda: self._try(self._screenshot),
            "record": lambda: self._try(self._record),
            "new world": lambda: self._try(self.player.new_world),
            "dream anew": lambda: self._try(self.player.dream_anew),
            "fork": lambda: self._try(self.player.fork),
            "close branch": lambda: self._try(self.player.close_branch),
            "help": self._help,
            "hud": self._show_map,
            "between": self._switch_between,
            "quit": self._escape,
        }

    def _type(self, key: str) -> None:
        sentence = self.box.press(key)
        if sentence is not None:
            try:
                self.player.say(sentence)
                self.player.key_to_frame.pressed()
                self.box.close()
            except (ValueError, OSError) as error:
                self.box.error = str(error)
        if not self.box.is_open:
            pygame.key.stop_text_input()

    def _open_box(self) -> None:
        self.player.held.release_all()
        self._hold_mouse(False)
        self.box.open()
        pygame.key.start_text_input()

    def _pause(self) -> None:
        self.player.is_paused = not self.player.is_paused

    def _help(self) -> None:
        self.is_help_shown = not self.is_help_shown

    def _show_map(self) -> None:
        self.is_map_shown = not self.is_map_shown

    def _switch_between(self) -> None:
        self.between.is_on = not self.between.is_on
        self._note(f"views between frames are {'on' if self.between.is_on else 'off'}")

    def _escape(self) -> None:
        if self.is_help_shown:
            self.is_help_shown = False
        elif self.is_mouse_held:
            self._hold_mouse(False)
        else:
            self.is_open = False

    def _record(self) -> None:
        if self.player.is_recording:
            self.player.stop_recording()
        else:
            self._note(f"recording to {self.player.record()}")

    def _screenshot(self) -> None:
        path, picture = fresh(self.player.folder, "picture", ".png"), io.BytesIO()
        pygame.image.save(self.picture, picture, "picture.png")
        self._note(f"saved {write_whole(path, picture.getvalue())}")

    def _try(self, act: Callable[[], object]) -> None:
        # the walker is told what can be fixed, and what a remote world did not do; the walk stays where it was
        try:
            act()
        except (ValueError, OSError) as error:  # a lost connection is an OSError too
            self._note(str(error))

    def _hold_mouse(self, is_held: bool) -> None:
        self.is_mouse_held = is_held
        pygame.event.set_grab(is_held)
        pygame.mouse.set_visible(not is_held)

    def _note(self, text: str) -> None:
        self.notes = [*self.notes, (time.monotonic() + _NOTE_S, text)][-_MOST_NOTES:]

    def _keys_of(self, command: str) -> str:
        return next(iter(self._keys()[command]), "nothing")

    def _keys(self) -> dict[str, tuple[str, ...]]:
        """Every command's keys, as they are printed."""
        named = self.player.held.keymap.keys.items()
        return {command: tuple(shown(self._keyboard.label(key)) for key in keys) for command, keys in named}

    def _draw(self) -> None:
        while self.player.notes:
            self._note(self.player.notes.pop(0))
        self.notes = [note for note in self.notes if note[0] > time.monotonic()]
        self.picture.fill(_BACKGROUND)
        width, height = self.picture.get_size()
        area = pygame.Rect(0, 0, width, max(1, height - STRIP_HEIGHT))
        self._draw_frame(area)
        self._hud.draw_strip(self.picture, pygame.Rect(0, height - STRIP_HEIGHT, width, STRIP_HEIGHT), self.status)
        if self.is_map_shown and area.width > 2 * SIDE:
            self.picture.blit(draw_minimap(self.player.trail), (area.right - SIDE - _MAP_GAP, area.top + _MAP_GAP))
        if len(self.player.branches) > 1:
            frames = [branch.explorer.frame.pixels for branch in self.player.branches]
            draw_branches(self.picture, area, frames, at=self.player.at, lift=_BOX_HEIGHT if self.box.is_open else 0)
        self._hud.draw_notes(self.picture, area, [text for _, text in self.notes])
        if self.box.is_open:
            self._hud.draw_text_box(self.picture, area, self.box)
        if self.is_help_shown:
            self._hud.draw_help(self.picture, area, self._keys())
        pygame.display.flip()

    def _draw_frame(self, area: pygame.Rect) -> None:
        """Draw the frame in the middle of `area`, enlarged by an integer factor if it fits."""
        pixels = self.player.frame.pixels if self._view is None else self._view
        height, width = pixels.shape[:2]
        factor = min(area.width / width, area.height / height)
        factor = int(factor) if factor >= 1 else factor
        size = (max(1, int(width * factor)), max(1, int(height * factor)))
        image = self._enlarged(pixels, size)
        self.picture.blit(image, image.get_rect(center=area.center))

    def _enlarged(self, pixels: np.ndarray, size: tuple[int, int]) -> pygame.Surface:
        key = (id(pixels), self.player.frame.index, size)
        if self._scaled is None or self._scaled[0] != key:
            flat = np.ascontiguousarray(pixels).data
            image = pygame.image.frombuffer(flat, (pixels.shape[1], pixels.shape[0]), "RGB")
            self._scaled = (key, pygame.transform.scale(image, size))
        return self._scaled[1]

    @property
    def status(self) -> Status:
        """The contents of the strip below the frame."""
        player = self.player
        p50, p95 = map(player.key_to_frame.percentile_ms, (50, 95))
        return Status(
            words=player.words,
            frames_per_s=player.frames_per_s,
            step_ms=player.step_ms,
            key_to_frame_ms=None if p50 is None or p95 is None else (p50, p95),
            index=player.frame.index,
            pose=player.frame.pose,
            world=str(player.place.start),
            queued=player.queued,
            is_paused=player.is_paused,
            is_recording=player.is_recording,
            is_cut_off=player.is_cut_off,
            is_between=self._view is not None,
            key_to_view_ms=player.key_to_view.percentile_ms(50) if self.between.is_on else None,
        )


def _wake() -> None:
    """Wake the window, from the thread that stepped; does nothing if the window was closed meanwhile."""
    with contextlib.suppress(pygame.error):
        pygame.event.post(pygame.event.Event(_STEPPED))
