"""Gamepads that come and go, and events of those that are none."""

import pygame
from roam.viewer.window.gamepad import Gamepads


def test_a_gamepad_that_is_gone_before_its_event_is_read_ends_nothing():
    pygame.init()
    pads = Gamepads()
    assert pads.changes(pygame.event.Event(pygame.JOYDEVICEADDED, device_index=5)) == []
    press = pygame.event.Event(pygame.JOYBUTTONDOWN, instance_id=7, button=3)
    assert pads.changes(press) == [("pad 3", True)]
    for _ in range(2):
        gone = pads.changes(pygame.event.Event(pygame.JOYDEVICEREMOVED, instance_id=7))
    assert gone == [] and pads.changes(press) == [("pad 3", True)]
