"""Poses, actions and frames: the laws of motion, of the grammar, and of the errors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roam.world.action import Action, ActionError, paraphrases, parse_action, say, words
from roam.world.frame import Frame, Rollout
from roam.world.pose import Camera, Motion, Pose
from roam.world.tokens.text import TextTokenizer

metres = st.integers(-200, 200).map(lambda n: n / 100)
degrees = st.integers(-1500, 1500).map(lambda n: n / 10)
poses = st.builds(Pose.at, metres, metres, metres, degrees, st.floats(-50, 50))


@given(poses, metres, metres)
def test_stepping_and_stepping_back_returns(pose, forward, right):
    there = pose.moved(Motion(forward=forward, right=right))
    back = there.moved(Motion(forward=-forward, right=-right))
    assert back.distance_to(pose) < 1e-9 and back.angle_to(pose) < 1e-4


@given(poses, degrees)
def test_turning_and_turning_back_returns(pose, turn):
    assert pose.moved(Motion(yaw_deg=turn)).moved(Motion(yaw_deg=-turn)).angle_to(pose) < 1e-4


@given(st.floats(-179, 179), st.floats(-59, 59))
def test_a_pose_gives_back_the_angles_it_was_made_from(yaw, pitch):
    pose = Pose.at(0, 0, 0, yaw, pitch)
    assert pose.yaw_deg == pytest.approx(yaw, abs=1e-6) and pose.pitch_deg == pytest.approx(pitch, abs=1e-5)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)


def test_left_of_the_x_axis_is_the_y_axis_and_the_camera_looks_along_its_z():
    pose = Pose.at(0, 0, 0, yaw_deg=90)
    np.testing.assert_allclose(pose.rotation[:, 2], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(pose.rotation[:, 1], [0, 0, -1], atol=1e-12)
    assert Pose.at(0, 0, 0).moved(Motion(right=1)).position[1] == pytest.approx(-1)


def test_pitch_stops_before_the_camera_tips_over():
    assert Pose.at(0, 0, 0).moved(Motion(pitch_deg=500)).pitch_deg == pytest.approx(60)


def test_a_camera_sees_its_field_of_view():
    rays = Camera(4, 4, 90).rays
    edge = rays[0, -1, 0] + 0.5 / Camera(4, 4, 90).focal
    assert math.degrees(math.atan(edge)) == pytest.approx(45)


@settings(max_examples=2 * settings.default.max_examples)
@given(metres, metres, degrees, degrees)
def test_what_is_said_of_a_motion_parses_back_to_it(forward, right, yaw, pitch):
    motion = Motion(forward, right, yaw, pitch)
    assert parse_action(say(motion)).motion == motion


SIDES = {1: ("left", "to the left", "counterclockwise", "anti-clockwise"), -1: ("right", "to your right", "clockwise")}
SHARES = {
    0.25: ("a quarter", "one quarter of a", "¼", "1/4", "0.25"),
    0.5: ("half a", "a half", "one-half", "1/2", "0,5"),
    0.75: ("three quarters of a", "three-quarter", "¾", "3/4"),
    1.0: ("a full", "full", "a whole"),
}


@given(st.data(), st.sampled_from(list(SHARES)), st.sampled_from(list(SIDES)))
def test_a_share_of_a_turn_or_of_a_metre_is_read_however_it_is_said(data, share, side):
    said = data.draw(st.sampled_from(SHARES[share]))
    way = data.draw(st.sampled_from(SIDES[side]))
    verb = data.draw(st.sampled_from(["turn", "make", "do", "rotate by", ""]))
    turn = f"{verb} {said} {data.draw(st.sampled_from(['turn', 'circle', 'rotation']))}"
    if verb in ("make", "do", ""):
        assert parse_action(f"{turn} {way}").motion == Motion(yaw_deg=side * share * 360)
    else:
        sentences = [f"{turn} {way}", f"{verb.split()[0]} {way} {said} turn"]
        assert {parse_action(sentence).motion for sentence in sentences} == {Motion(yaw_deg=side * share * 360)}
    if share == 0.5:
        assert parse_action(turn).motion == Motion(yaw_deg=180)  # either way, as "turn around"
    assert parse_action(f"move forward {said} metre, {turn} {way}").motion == Motion(share, yaw_deg=side * share * 360)
    assert parse_action(f"take {said} step back").motion == Motion(forward=-share * 0.3)


# sentences as people put them together, with and without sense; most are refused
AMOUNTS = (
    "|2|0.5|0,5|1,000|-3|−0.25|three|twenty-five|a hundred and ten|half a|1½|5.|one|one-half|a quarter of a"
    "|three quarters of a|two thirds of a|1/2|1 3/4|a full|180"
)
amounts = st.sampled_from(AMOUNTS.split("|"))
units = st.sampled_from(
    ["", "m", "metres", "cm", "feet", "steps", "°", "º", "degrees", "rad", "seconds", "turn", "turns", "circle", "step"]
)
WAYS = "left|right|back|forward|around|up|on|straight|a little|to|not|clockwise|anti-clockwise"
parts_of_speech = st.lists(st.sampled_from(WAYS.split("|")), max_size=3).map(" ".join)
BEGINNINGS = "|move|walk|step|turn|look|wait|strafe|open|take|go|make a|about face"
clauses = st.tuples(
    st.sampled_from(BEGINNINGS.split("|")),
    parts_of_speech,
    amounts,
    units,
    parts_of_speech,
    st.sampled_from(["", "!", "...", ",", "?", ";", '"']),
).map(lambda parts: " ".join(part for part in parts if part))
sentences = st.lists(clauses, min_size=1, max_size=3).map(" and ".join)


def test_what_rounds_to_nothing_is_not_said():
    assert say(Motion(forward=-0.004, right=0.3)) == "strafe right"
    assert say(Motion(forward=1e-9, pitch_deg=-0.001)) == "wait"
    assert say(Motion(forward=0.01, yaw_deg=0.01)) == "move forward 0.01 metres and turn left 0.01 degrees"


@settings(max_examples=10 * settings.default.max_examples)
@given(sentences)
def test_a_sentence_is_refused_or_the_words_that_a_model_reads_mean_the_same(sentence):
    try:
        action = parse_action(sentence)
    except ActionError as error:
        assert str(error) and "\n" not in str(error)
        return
    again = parse_action(action.text)
    assert again.text == action.text
    for name, amount in vars(action.motion).items():
        assert getattr(again.motion, name) == pytest.approx(amount, abs=0.0051)
    assert " not " not in f" {sentence} " and "open" not in sentence


@pytest.mark.parametrize(
    "motion",
    [
        Motion(),
        Motion(forward=0.3),
        Motion(forward=-0.2),
        Motion(right=0.4),
        Motion(right=-0.3),
        Motion(yaw_deg=15),
        Motion(yaw_deg=-7),
        Motion(pitch_deg=10),
        Motion(pitch_deg=-15),
    ],
)
def test_every_paraphrase_means_the_same(motion):
    for text in paraphrases(motion):
        assert parse_action(text).motion == motion, text


@pytest.mark.parametrize(
    ("text", "motion"),
    [
        ("turn left 30 degrees", Motion(yaw_deg=30)),
        ("walk forward 1.5 m", Motion(forward=1.5)),
        ("step back and turn right", Motion(forward=-0.3, yaw_deg=-15)),
        ("Turn 20° to the right, and go on", Motion(forward=0.3, yaw_deg=-20)),
        ("back up 50 cm", Motion(forward=-0.5)),
        ("look up a little", Motion(pitch_deg=7.5)),
        ("left", Motion(yaw_deg=15)),
        ("turn around", Motion(yaw_deg=180)),
        ("look left and up", Motion(yaw_deg=15, pitch_deg=15)),
        ("one step forward, two steps back", Motion(forward=-0.3)),
        ("forward 2 m, left 30 degrees", Motion(forward=2, yaw_deg=30)),
        ("left 90 degrees, forward 2", Motion(forward=2, yaw_deg=90)),
        ("walk forward and left", Motion(forward=0.3, right=-0.3)),
        ("walk two ¾ m", Motion(forward=2.75)),
        ("stand still", Motion()),
        ("move forward 1,5 m", Motion(forward=1.5)),
        ("go 0,25 m back", Motion(forward=-0.25)),
        ("move forward 5. m", Motion(forward=5)),
        ("turn left and forward", Motion(forward=0.3, yaw_deg=15)),
        ("walk 2 m and left 90 degrees", Motion(forward=2, yaw_deg=90)),
        ("turn left 90º", Motion(yaw_deg=90)),
        ("move forward −0.5 m", Motion(forward=-0.5)),
        ("turn left -30 degrees", Motion(yaw_deg=-30)),
        ("walk forward 10 feet", Motion(forward=3.048)),
        ("take two steps back", Motion(forward=-0.6)),
        ("walk forward a metre", Motion(forward=1)),
        ("one and a half metres forward", Motion(forward=1.5)),
        ("½ m back", Motion(forward=-0.5)),
        ("turn left one hundred and eighty degrees", Motion(yaw_deg=180)),
        ("turn right twenty-five degrees", Motion(yaw_deg=-25)),
        ("walk zero point two five m", Motion(forward=0.25)),
        ("walk forward!", Motion(forward=0.3)),
        ("“turn left…”", Motion(yaw_deg=15)),
        ("turn left １５ degrees", Motion(yaw_deg=15)),
        ("\ufeffturn\u200b left", Motion(yaw_deg=15)),
        ("turn around right", Motion(yaw_deg=-180)),
        ("straight back", Motion(forward=-0.3)),
        ("2 m left", Motion(right=-2)),
        ("Make a quarter turn to the left.", Motion(yaw_deg=90)),
        ("turn 90° counter-clockwise", Motion(yaw_deg=90)),
        ("spin around clockwise", Motion(yaw_deg=-180)),
        ("walk 2 m and clockwise 45 degrees", Motion(forward=2, yaw_deg=-45)),
        ("about-face!", Motion(yaw_deg=180)),
        ("make a U-turn", Motion(yaw_deg=180)),
        ("do a 180 to the right", Motion(yaw_deg=-180)),
        ("turn 180 degrees", Motion(yaw_deg=180)),
        ("make a 90-degree turn to the right", Motion(yaw_deg=-90)),
        ("take a left turn", Motion(yaw_deg=15)),
        ("turn left a right angle", Motion(yaw_deg=90)),
        ("walk 1/2 of a metre", Motion(forward=0.5)),
        ("turn left 2.5 turns", Motion(yaw_deg=900)),
        ("one and three quarters metres back", Motion(forward=-1.75)),
        ("walk 1 1/2 m", Motion(forward=1.5)),
    ],
)
def test_common_sentences_mean_what_people_mean(text, motion):
    assert parse_action(text).motion == motion


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jmp", "unknown verb 'jmp'; known verbs: move, strafe, turn, look, wait"),
        ("", "empty action"),
        ("walk forward bananas", "unknown word 'bananas'; known directions"),
        ("turn 3 m left", "turn takes degrees"),
        ("turn", "needs a direction"),
        ("move up", "cannot go 'up'"),
        ("walk 1 2 m", "two amounts"),
        ("walk 99999 m", "at most 1000"),
        ("walk " * 200, "at most 400"),
        ("walk turn left", "two verbs"),
        ("walk 1,000 m", "may mean 1000 or 1.000"),
        ("walk 1.000,5 m", "no number that can be read"),
        ("step forward left", "two directions, 'forward' and 'left'"),
        ("turn left right 30 degrees", "two directions, 'left' and 'right'"),
        ("strafe left and right", "undo each other"),
        ("turn left 30, turn right 30 degrees", "undo each other"),
        ("move 5 feet and 6 inches left", "'move' without a direction, then 'left'"),
        ("turn a quarter left", "'quarter' of what"),
        ("walk 2 half metres", "two amounts"),
        ("2 turn left", "'2 turn' may be whole turns or not"),
        ("one turn left", "'1 turn' may be whole turns or not"),
        ("turn left 3 circles", "at most 1000"),
        ("walk half a turn left", "'move' by 'turns'"),
        ("turn left 1/4", "'¼' of what"),
        ("turn left half turn right", "two directions, 'left' and 'right'"),
        ("turn left clockwise", "two directions, 'left' and 'clockwise'"),
        ("move 2 m clockwise", "'move' cannot go 'clockwise'"),
        ("look around clockwise", "'look' cannot go 'clockwise'"),
        ("make a quarter turn", "needs a direction"),
        ("take a third step forward", "unknown verb 'third'"),
        ("walk 11/2 m", "unknown mark '/'"),
        ("make forward", "'make' takes steps or turns"),
        ("turn back", "'turn' cannot go 'back'"),
        ("walk hundred hundred cm", "two amounts"),
        ("turn around 90 degrees", "left or right"),
        ("go back -1 m", "may mean either way"),
        ("walk forward 1, 5 m", "'5 m' has no direction"),
        ("three steps", "'3 steps' has no direction"),
        ("walk m", "without an amount"),
        ("walk 2-3 m", "unknown mark '-'"),
        ("walk 2² m", "unknown word '²'"),
        ("turn left left left", "'left' twice"),
        ("back back", "'back' twice"),
        ("move forward\x00", r"does not show, U\+0000"),
        ("turn left \u202e09", r"does not show, U\+202E"),  # a screen shows 90
        ("turn left to 90 degrees", "count from here"),
        ("stand back", "'wait' takes no direction"),
        ("take the lift", "unknown"),
        ("walk 999 m and walk 999 m", "adds up to more than 1000"),
        ("go forward to the", "breaks off after 'the'"),
        ("turn left and", "breaks off after 'and'"),
        ("turn left followed by", "breaks off after 'followed by'"),
        ("back, the", "'the' breaks off after 'the'"),
        ("walk. still", "'still' has no direction"),
        ("stop to", "breaks off after 'to'"),
        ("turn left?", "a question is not acted on"),
        ("go to still", "'to still' names no direction"),
        ("walk by the left", "'by left' is no amount"),
        ("go here", "'go here' has no direction"),
        ("go ahead and turn left", "may go forward or not"),
        ("go and look up", "may go forward or not"),
        ("go on left", "two directions, 'on' and 'left'"),
        ("straight forward up", "two directions, 'straight' and 'up'"),
        ("walk back up", "two directions, 'back' and 'upward'"),
        ("on", "'on' without a verb"),
        ("tilt left", "'tilt' goes up or down"),
        ("advance back", "'advance' goes forward"),
        ("step forward 2", "'step' by 2 may be steps or metres"),
        ("left 2", "may be metres or degrees"),
        ("one left turn", "name the unit of 1"),
        ("take clockwise", "'take' takes steps or turns"),
        ("turn clockwise clockwise", "'clockwise' twice"),
        ("walk a little 2 m", "'little' beside an amount"),
        ("turn around slightly", "'slightly' beside around"),
        ("stand still and walk forward", "'stand' and a way to go in one act"),
        ("walk forward and left 2 m", "the amount in 'left 2 m' may be for 'walk forward' too"),
        ("look left 20 and up", "the amount in 'look left 20' may be for 'up' too"),
        ("turn left and turn right 30", "say how far each"),
        ("two steps forward, one back", "after an amount in 'steps': name its unit, too"),
        ("walk 1、5 m", "'5 m' has no direction"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_what_is_known(text, said):
    with pytest.raises(ActionError, match=said):
        parse_action(text)


@given(st.text(max_size=60))
def test_any_text_is_either_understood_or_refused_in_words(text):
    try:
        assert isinstance(parse_action(text), Action)
    except ActionError as error:
        assert str(error)


def test_a_model_reads_what_it_was_taught_whatever_was_typed():
    assert parse_action("walk forward 1.5 m").text == "walk forward 1.5 m"
    assert parse_action("Go 5 feet, please!").text == "move forward 1.52 metres"
    assert parse_action("turn left 90º").text == "turn left 90 degrees"
    assert parse_action("0.5 turn left").text == "turn left 180 degrees"


def test_long_commands_split_into_frame_sized_steps_that_add_up():
    steps = parse_action("walk forward 1.5 m and turn left 40 degrees").split()
    assert len(steps) == 5
    total = sum((step.motion for step in steps), Motion())
    assert total.forward == pytest.approx(1.5) and total.yaw_deg == pytest.approx(40)
    for step in steps:
        assert parse_action(step.text).motion.forward == pytest.approx(step.motion.forward, abs=0.0051)


def test_every_word_of_the_grammar_is_one_token_and_other_words_are_bytes():
    text = TextTokenizer()
    assert all(len(text.encode(word)) == 1 for word in words() if word != ".")
    assert text.decode(text.encode("Turn left 12.5 degrees")) == "turn left 1 2 . 5 degrees"
    assert text.decode(text.encode("open the öffnung")) == "open the öffnung"


def test_a_digest_tells_frames_apart_and_ignores_timing():
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert Frame(0, pixels).digest == Frame(0, pixels.copy()).digest != Frame(1, pixels).digest
    assert Frame(0, pixels).digest != Frame(0, pixels + 1).digest


def test_a_rollout_needs_one_action_between_every_two_frames():
    with pytest.raises(ValueError, match="one action between every two"):
        Rollout((Frame(0, np.zeros((1, 1, 3), np.uint8)),), (Action("wait", Motion()),))
