"""Held keys are a state that becomes an Action; a file can change the table."""

import json

import pytest
from roam.viewer.play.keymap import DEFAULT_KEYS, MOTIONS, Held, Keymap, KeymapError, load_keymap
from roam.world.action import STEP, TURN_DEG, parse_action
from roam.world.pose import Motion


@pytest.fixture
def held():
    return Held(Keymap())


def write(tmp_path, table):
    path = tmp_path / "keys.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return path


def test_a_held_key_gives_the_same_action_every_step(held):
    held.press("forward")
    assert [held.take().text for _ in range(3)] == ["move forward"] * 3


def test_nothing_held_is_no_action(held):
    assert held.take() is None


def test_the_last_of_two_opposite_keys_counts_until_it_is_let_go(held):
    held.press("forward")
    held.press("back")
    assert held.take().text == "move back"
    held.release("back")
    assert held.take().text == "move forward"


def test_two_keys_on_different_axes_combine(held):
    held.press("forward")
    held.press("turn left")
    assert held.take().motion == Motion(forward=STEP, yaw_deg=TURN_DEG)


def test_a_tap_between_two_steps_counts_for_one_step(held):
    held.press("turn right")
    held.release("turn right")
    assert held.take().text == "turn right"
    assert held.take() is None


def test_a_tap_does_not_overrule_the_opposite_key_that_is_held(held):
    held.press("forward")
    held.press("back")
    held.release("back")
    assert held.take().text == "move forward"


def test_the_mouse_turns_in_notches_and_keeps_what_is_left_over(held):
    held.turn_mouse(24, 0)  # 4.8 degrees: not yet one step
    assert held.take() is None
    held.turn_mouse(2, 0)
    assert held.take().text == "turn right 5 degrees"
    assert held.take() is None


def test_a_flick_of_the_mouse_ends_after_two_steps(held):
    held.turn_mouse(5000, 0)
    assert [held.take(), held.take(), held.take()][1:] == [parse_action("turn right"), None]


def test_the_mouse_looks_up_when_pushed_away(held):
    held.turn_mouse(0, -75)
    assert held.take().text == "look up"


@pytest.mark.parametrize("command", MOTIONS)
def test_every_motion_key_says_words_that_the_parser_reads_back(held, command):
    held.press(command)
    action = held.take()
    assert parse_action(action.text) == action


def test_losing_the_keyboard_lets_all_keys_go(held):
    held.press("forward")
    held.release_all()
    assert held.take() is None


def test_no_key_means_two_things():
    keys = [key for names in DEFAULT_KEYS.values() for key in names]
    assert len(keys) == len(set(keys))


def test_a_key_file_gives_a_key_away_and_leaves_the_others(tmp_path):
    keymap = load_keymap(write(tmp_path, {"keys": {"turn left": ["A"]}, "turn_deg": 10}))
    assert keymap.command("a") == "turn left" and keymap.command("left") is None
    assert keymap.command("w") == "forward" and keymap.sized("turn left") == ("yaw_deg", 10)


@pytest.mark.parametrize(
    "table, said",
    [
        ("{torn", "is not JSON"),
        ({"kees": {}}, "may hold keys"),
        ({"keys": {"fly": ["x"]}}, "unknown command 'fly'"),
        ({"keys": {"back": "s"}}, "wanted a list"),
        ({"keys": {"back": ["x"], "forward": ["x"]}}, "means both"),
        ({"turn_deg": -3}, "wanted a number from 0.01"),
        ({"step_m": "far"}, "wanted a number from 0.01"),
        ([], "may hold keys"),
    ],
)
def test_a_bad_key_file_is_refused_in_one_sentence(tmp_path, table, said):
    with pytest.raises(KeymapError, match=said) as error:
        load_keymap(write(tmp_path, table))
    assert "\n" not in str(error.value)


def test_a_missing_key_file_is_refused(tmp_path):
    with pytest.raises(KeymapError, match="cannot read the key file"):
        load_keymap(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('{"keys": {"forward": ["i"]}, "keys": {"back": ["k"]}}', "says 'keys' twice"),
        ('{"keys": {"forward": ["i"], "forward": ["k"]}}', "says 'forward' twice"),
        ("[" * 100_000, "not JSON"),
        ('{"step_m": 1e-300}', "wanted a number from 0.01 to 90"),  # so small a step would move nobody
    ],
)
def test_what_would_be_lost_without_a_word_is_refused(tmp_path, table, said):
    with pytest.raises(KeymapError, match=said):
        load_keymap(write(tmp_path, table))


@pytest.mark.parametrize("keys", ["w", {"w": 1}, ["w", 1], None, 3])
def test_keys_that_are_no_list_of_names_are_refused(tmp_path, keys):
    with pytest.raises(KeymapError, match="wanted a list of names"):
        load_keymap(write(tmp_path, {"keys": {"forward": keys}}))
