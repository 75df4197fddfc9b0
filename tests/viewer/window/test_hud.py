"""What lies over the picture."""

import pygame
import pytest
from roam.viewer.window.hud import Hud


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
