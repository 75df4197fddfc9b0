"""What is drawn over the picture."""

import pygame
import pytest
from roam.viewer.window.hud import Hud, Status
from roam.viewer.window.textbox import TextBox


@pytest.fixture
def hud():
    pygame.font.init()
    return Hud()


def test_notes_stand_below_each_other_and_hide_nothing_of_each_other(hud):
    area, shown = pygame.Rect(0, 0, 300, 200), []
    for notes in (["one"], ["one", "two"]):
        surface = pygame.Surface(area.size)
        surface.fill((255, 255, 255))
        hud.draw_notes(surface, area, notes)
        shown.append((pygame.surfarray.array3d(surface) != 255).any(-1))
    one, both = shown
    end = one.any(0).nonzero()[0][-1] + 1
    assert (both[:, :end] == one[:, :end]).all() and not both[:, end].any() and both[:, end:].any()


def test_what_no_font_has_is_drawn_as_a_mark(hud):
    """File names may hold any bytes, and a pasted sentence any character: neither ends a walk."""
    surface = pygame.Surface((300, 200))
    hud.draw_notes(
        surface, surface.get_rect(), ["saved \udcff/walk-001.roam", "a\0b", "\0", "", "\N{RIGHT-TO-LEFT OVERRIDE}"]
    )
    box = TextBox()
    box.open()
    box.insert("turn\0left\n\ud800")
    hud.draw_text_box(surface, surface.get_rect(), box)
    status = Status("\udcff", 1.0, 1.0, None, 0, None, "\udcff.jpg\0", 0, False, False)
    hud.draw_strip(surface, pygame.Rect(0, 144, 300, 56), status)
