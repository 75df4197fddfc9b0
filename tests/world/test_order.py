"""Sentences whose parts follow each other in time: each part is an act of its own, or the whole sentence is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roam.viewer.play.script import steps_of
from roam.viewer.server.command_queue import CommandQueue, QueueFullError
from roam.viewer.wire.protocol import Act
from roam.world.action import Action, ActionError, parse_action, parse_actions, say
from roam.world.pose import Motion

from .test_floor import clauses, degrees, metres

LEFT, AHEAD = Motion(yaw_deg=90), Motion(forward=2)
motions = st.builds(Motion, metres, metres, degrees, degrees)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("turn left 90 degrees then walk 2 m", [LEFT, AHEAD]),
        ("Turn left 90, then walk 2 m.", [LEFT, AHEAD]),
        ("turn left 90 and then walk 2 m", [LEFT, AHEAD]),
        ("First, turn left 90; after that walk 2 m", [LEFT, AHEAD]),
        ("first of all turn left 90°. Afterwards, walk 2 m!", [LEFT, AHEAD]),
        ("turn left 90 first, then 2 m forward", [LEFT, AHEAD]),
        ("turn left 90, followed by walk 2 m", [LEFT, AHEAD]),
        ("Turn left 90. Walk 2 m.", [LEFT, AHEAD]),
        ("turn left 90... walk 2 m", [LEFT, AHEAD]),
        ("turn left 90; next, walk 5. m", [LEFT, Motion(forward=5)]),
        ("walk 2 m then left 90 degrees", [AHEAD, LEFT]),
        ("walk 2 m, then turn left 90 and look up. Finally wait.", [AHEAD, LEFT + Motion(pitch_deg=15), Motion()]),
        ("go 5. Turn left", [Motion(forward=5), Motion(yaw_deg=15)]),
        ("walk forward 0.5 m. turn left 0.5", [Motion(forward=0.5), Motion(yaw_deg=0.5)]),
        ("strafe left, then right", [Motion(right=-0.3), Motion(right=0.3)]),
        ("walk 2 m then back 2 m", [AHEAD, Motion(forward=-2)]),
        ("left, then right", [Motion(yaw_deg=15), Motion(yaw_deg=-15)]),
        ("then walk 2 m, please. Now.", [AHEAD]),
        ("step back and turn right 30 degrees", [Motion(forward=-0.3, yaw_deg=-30)]),
        ("walk 2 m, turn left 90", [AHEAD + LEFT]),
    ],
)
def test_what_is_said_to_come_later_is_an_act_of_its_own(text, said):
    acts = parse_actions(text)
    assert [act.motion for act in acts] == said
    assert [parse_action(act.text).motion for act in acts] == said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("turn left 90 then open the door", "unknown verb 'open'"),
        ("walk 2 m, then left", "'left' after 'move' may turn or step aside: say 'turn' or 'strafe'"),
        ("walk on 2 m and left 90", "'left 90' after 'move' may turn or step aside"),
        ("walk 2 ft. forward", "'ft.' before 'forward' may end a sentence or not"),
        ("turn 30 deg. to the left", "'deg.' before 'left' may end a sentence or not"),
        ("turn left before you walk", "'before' is not read"),
        ("walk while you turn left", "'while' is not read"),
        ("walk 2 m. First turn left", "'first' is not read"),
        ("walk next to the left", "'next' is not read"),
        ("walk 600 m then walk 600 m back", "adds up to more than 1000"),
        ("and then", "empty action"),
        ("turn left, and then", "breaks off after 'and then'"),
        ("walk 2 m forward, then back", "the amount in 'walk 2 m forward' may be for 'back' too"),
        ("walk 50 cm, then walk 20", "after an amount in 'cm': name its unit, too"),
    ],
)
def test_an_order_that_is_not_understood_is_refused_by_name(text, message):
    with pytest.raises(ActionError, match=message):
        parse_actions(text)


def test_where_one_act_is_wanted_several_are_refused_with_what_to_say():
    with pytest.raises(
        ActionError, match=r"is 2 acts, one after the other.*say one of them, for instance 'turn left 90'"
    ):
        parse_action("turn left 90 then walk 2 m")


joined = st.lists(
    st.tuples(
        clauses, st.sampled_from([" and ", ", ", " then ", ", then ", " and then ", ". ", "; ", " after that, "])
    ),
    min_size=1,
    max_size=4,
).map(lambda parts: "".join(clause + mark for clause, mark in parts))


@settings(max_examples=10 * settings.default.max_examples)
@given(joined)
def test_a_sentence_of_any_order_is_refused_or_its_acts_mean_the_same_alone(sentence):
    try:
        acts = parse_actions(sentence)
    except ActionError as error:
        assert str(error) and "\n" not in str(error)
        return
    for act in acts:
        again = parse_action(act.text)
        assert again.text == act.text
        for name, amount in vars(act.motion).items():
            assert getattr(again.motion, name) == pytest.approx(amount, abs=0.0051)
    assert len(acts) == 1 or any(mark in sentence for mark in ("then", ".", ";", "after that", "!", "?"))


@given(st.lists(motions, min_size=1, max_size=3), st.sampled_from([", then ", " then ", ". ", "; ", " and then "]))
def test_motions_that_are_said_in_order_are_read_back_in_order(said, mark):
    assert [act.motion for act in parse_actions(mark.join(map(say, said)))] == said


def test_a_script_walks_the_acts_of_a_line_in_order_and_a_world_of_free_words_takes_each_in_one_step():
    steps = steps_of("turn left 30 degrees, then walk 0.6 m")
    assert [step.motion for step in steps] == [Motion(yaw_deg=15)] * 2 + [Motion(forward=0.3)] * 2
    assert steps_of("turn left 90, then walk 2 m", is_free=True) == [
        Action("turn left 90", LEFT),
        Action("walk 2 m", AHEAD),
    ]
    assert steps_of("turn left, then open the door", is_free=True) == [Action("turn left, then open the door")]


def test_a_typed_act_is_done_part_after_part_and_has_one_receipt():
    controls = CommandQueue("ab")
    assert controls.take_in(Act(seq=1, session="ab", mode="once", text="turn left 30, then walk 0.6 m"), frame=0) == []
    receipts = []
    for frame in range(1, 5):
        command = controls.next()
        assert command.action.motion == (Motion(yaw_deg=15) if frame < 3 else Motion(forward=0.3))
        receipts.append(controls.applied(command, frame))
    assert receipts[:3] == [None] * 3 and (receipts[3].status, receipts[3].frame) == ("applied", 4)
    assert not controls.has_work


@settings(max_examples=3 * settings.default.max_examples)
@given(joined, st.sampled_from(["once", "hold"]))
def test_words_that_are_refused_change_nothing_of_what_is_to_be_done(sentence, mode):
    controls = CommandQueue("ab")
    controls.take_in(Act(seq=1, session="ab", mode="hold", text="move forward"), frame=0)
    held = controls.next()
    try:
        controls.take_in(Act(seq=2, session="ab", mode=mode, text=sentence), frame=0)
    except (ActionError, QueueFullError):
        assert controls.next() is held
        return
    acts = parse_actions(sentence)
    assert mode == "once" or len(acts) == 1  # a held key is one motion
    steps = acts if mode == "hold" else [step for act in acts for step in act.split()]
    assert [controls.next().action for _ in steps] == steps
