"""Branches of a walk: each continues by itself, and the walker is told which one begins."""

import pytest
from roam.viewer.play.player import PlayerError


def walk(player, text):
    player.say(text)
    while player.queued or player.is_busy:
        player.step()


def test_a_branch_goes_on_from_where_it_began_and_leaves_the_other_where_it_was(player):
    walk(player, "move forward")
    there = player.frame.digest
    player.fork()
    assert (player.at, player.notes[-1]) == (1, "branch 2 begins here") and player.frame.digest == there
    walk(player, "turn left")
    player.switch(0)
    assert player.frame.digest == there and player.frame.index == 1
    player.switch(1)
    assert player.frame.index == 2
    player.close_branch()
    assert player.at == 0 and player.frame.digest == there
    with pytest.raises(PlayerError, match="only branch"):
        player.close_branch()


def test_a_number_that_no_branch_has_changes_nothing(player):
    player.fork()
    for number in (1, 2):
        player.switch(number)
        assert player.at == 1


def test_what_was_recorded_is_where_it_is_said_to_be(player):
    begun = player.record()
    walk(player, "move forward")
    assert player.stop_recording() == begun and begun.exists() and player.stop_recording() is None
