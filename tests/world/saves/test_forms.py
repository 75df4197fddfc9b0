"""What newer dreams did to older views is read as it was written, whatever has been forgotten since."""

from itertools import chain, pairwise

import numpy as np
import pytest
from roam.world.pose import Camera, Pose
from roam.world.saves import forms
from roam.world.spatial.view_memory import ViewMemory
from roam.world.spatial.warp import DREAMT, DREAMT_ANEW, SEEN, View

CAMERA, SIDE = Camera(32, 32), 32
WALL = 40.0  # metres; the walker goes straight up to it


def view(x, origin):
    """The wall as seen or dreamt from x metres on, each time by a smaller part of the view."""
    fresh = np.zeros((SIDE, SIDE), bool)
    fresh[2:-2, 2 : SIDE - 2 - max(0, x) // 4] = True
    pixels = np.full((SIDE, SIDE, 3), abs(x), np.uint8)
    depth = np.full((SIDE, SIDE), WALL - x, np.float32)
    return View(pixels, depth, Pose.at(x, 0, 1.5), None if origin == SEEN else fresh, origin)


def walked_up(limit):
    """The memory at each step of a walk up to a wall that is dreamt anew again and again."""
    memories = [ViewMemory(CAMERA, limit=limit).with_view(0, view(-50, SEEN)).with_view(2, view(0, DREAMT))]
    for index, x in ((4, 12), (6, 20), (8, 24), (10, 28), (12, 30)):
        memories.append(memories[-1].with_view(index, view(x, DREAMT_ANEW)))
    return memories


def told(memory):
    """Everything that a memory says, also of what changed its views."""
    return [
        (
            memo.index,
            memo.view.own_depth.tobytes(),
            memo.points.tobytes(),
            None if memo.gone is None else memo.gone.tolist(),
            None
            if memo.stands_in is None
            else (memo.stands_in.where.tolist(), [memo.stands_in.is_near(np.array([x, 0, 1.5])) for x in range(40)]),
        )
        for memo in memory.memos
    ]


def read_again(memories, before=None):
    """The memories as a file with all of them gives them back."""
    new = forms.first_memos(memories)
    found, changed = forms.forms_of(memories, new, before)
    held = forms.as_tensors(found, forms.stands_of(new.values()), SIDE * SIDE // 8)
    found, stands = forms.read(held)
    views = {index: memo.view for index, memo in new.items()}
    return forms.remembered(views, [memory.indices for memory in memories], found, changed, stands, CAMERA)


@pytest.mark.parametrize("limit", [4, 100])
@pytest.mark.parametrize("first", [0, 2, 4, 5])
def test_memories_come_back_as_they_were_though_earlier_moments_and_views_are_forgotten(limit, first):
    memories = walked_up(limit)
    assert any(memo.gone is not None for memo in memories[-1].memos)
    assert (len(memories[-1]) < 7) == (limit == 4)
    again = read_again(memories[first:])
    assert [told(memory) for memory in again] == [told(memory) for memory in memories[first:]]
    at = Pose.at(10, 1, 1.5)
    assert np.array_equal(again[-1].carried(at).pixels, memories[-1].carried(at).pixels)


def shared(memories):
    """Which views two moments after each other have in common, unchanged."""
    return [[old is new for old, new in zip(a.memos, b.memos, strict=False)] for a, b in pairwise(memories)]


def test_moments_that_share_a_view_share_it_again():
    memories = walked_up(100)
    assert {True, False} == set(chain.from_iterable(shared(memories)))
    assert shared(read_again(memories)) == shared(memories)


@pytest.mark.parametrize(
    "change",
    [
        {"gone_form": lambda tensor: tensor + 100},
        {"stood_count": lambda tensor: tensor + 1},
        {"form_fresh": lambda tensor: tensor[:-1]},
        {"gone_by": lambda tensor: tensor[:-1]},
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(change):
    memories = walked_up(100)
    new = forms.first_memos(memories)
    found, _ = forms.forms_of(memories, new)
    held = forms.as_tensors(found, forms.stands_of(new.values()), SIDE * SIDE // 8)
    ((name, of),) = change.items()
    with pytest.raises(ValueError, match=r"\d|zip"):
        forms.read(held | {name: of(held[name])})
