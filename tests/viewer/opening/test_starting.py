"""Starting without searches for cycles of objects."""

import gc

import pytest
from roam.viewer.opening.starting import without_collecting


@pytest.fixture
def searches():
    """The searches that Python makes, as they are made; what was left out of them comes back afterwards."""
    made = []
    gc.callbacks.append(lambda phase, info: made.append(phase))
    yield made
    gc.callbacks.pop()
    gc.unfreeze()


def cycles(number=5000):
    for _ in range(number):
        one = []
        one.append(one)


def test_nothing_is_searched_while_a_world_opens_and_as_ever_afterwards(searches):
    gc.enable()
    with without_collecting():
        cycles()
        assert not searches and not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() > 5000
    cycles()
    assert searches


def test_a_program_that_searches_itself_is_left_to_it_also_after_a_failure(searches):
    gc.disable()
    try:
        with pytest.raises(ValueError), without_collecting():
            raise ValueError
        assert not gc.isenabled()
    finally:
        gc.enable()
