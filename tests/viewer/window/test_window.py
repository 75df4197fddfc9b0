"""The window, driven through its event queue under SDL's dummy driver: each key and each mouse motion leads to the
right act."""

import errno
import json
import os
import threading
from pathlib import Path

import av
import pygame
import pytest
from roam.viewer.play.keymap import KeymapError, load_keymap
from roam.viewer.window.keyboard import Keyboard
from roam.viewer.window.window import Window
from roam.world.action import ActionError, parse_action

try:
    import resource
except ImportError:
    resource = None


@pytest.fixture
def window(player):
    window = Window(player, scale=3, steps_per_s=1e6, waits=True)
    pygame.event.clear()
    yield window
    window.close()


def post(kind, **values):
    pygame.event.post(pygame.event.Event(kind, **values))


def down(*keys):
    for key in keys:
        post(pygame.KEYDOWN, key=key, mod=0, unicode="")


def up(*keys):
    for key in keys:
        post(pygame.KEYUP, key=key, mod=0)


def tap(window, key):
    down(key)
    up(key)
    window.tick()


def type_in(window, sentence):
    tap(window, pygame.K_RETURN)
    for letter in sentence:
        post(pygame.TEXTINPUT, text=letter)
    tap(window, pygame.K_RETURN)


def notes(window):
    return [text for _, text in window.notes]


def test_a_held_key_walks_until_it_is_let_go(window):
    down(pygame.K_w)
    for _ in range(3):
        window.tick()
    up(pygame.K_w)
    window.tick()
    window.tick()
    assert [action.text for action in window.player.place.explorer.actions] == ["move forward"] * 3


LAYOUTS = {"us": "wasd", "fr": "zqsd", "ru": "цфыв", "gr": "ςασδ", "il": "'שדג", "th": "ไฟหก", "dvorak": ",aoe"}
PLACES = (pygame.KSCAN_W, pygame.KSCAN_A, pygame.KSCAN_S, pygame.KSCAN_D)


def press_at(window, place, letter):
    post(pygame.KEYDOWN, key=ord(letter), scancode=place, mod=0, unicode=letter)
    post(pygame.KEYUP, key=ord(letter), scancode=place, mod=0)
    window.tick()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keys_are_where_they_are_whatever_is_printed_on_them(window, layout):
    walked = []
    for place, letter in zip(PLACES, LAYOUTS[layout], strict=True):
        press_at(window, place, letter)
        walked.append(window.player.words)
    assert walked == ["move forward", "strafe left", "move back", "strafe right"]


def test_a_key_held_while_the_layout_changes_is_let_go(window):
    post(pygame.KEYDOWN, key=ord("w"), scancode=pygame.KSCAN_W, mod=0, unicode="w")
    window.tick()
    post(pygame.KEYUP, key=ord("ц"), scancode=pygame.KSCAN_W, mod=0)
    window.tick()
    assert window.player.held.take() is None


def test_letters_of_a_key_file_are_those_printed_on_the_keys(tmp_path):
    (tmp_path / "keys.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"keys": {"forward": ["z"]}}).encode())
    keyboard = Keyboard(load_keymap(tmp_path / "keys.json").printed)
    key = lambda place, letter: pygame.event.Event(pygame.KEYDOWN, key=ord(letter), scancode=place)  # noqa: E731
    assert keyboard.pressed(key(pygame.KSCAN_W, "z")) == "z"  # a French keyboard
    assert keyboard.pressed(key(pygame.KSCAN_Z, "w")) == ""
    assert keyboard.pressed(key(pygame.KSCAN_A, "q")) == "a"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ENOENT, errno.EIO])
def test_a_disk_that_takes_no_more_is_told_and_the_walk_goes_on(window, monkeypatch, number):
    def refuse(self, *_, **__):
        raise OSError(number, os.strerror(number), str(self))

    for name in ("write_bytes", "write_text", "mkdir"):
        monkeypatch.setattr(Path, name, refuse)
    for key in (pygame.K_F5, pygame.K_F12, pygame.K_F10):
        tap(window, key)
        assert os.strerror(number) in notes(window)[-1]
    tap(window, pygame.K_w)
    assert window.is_open and window.player.frame.index == 1 and not window.player.is_recording
    monkeypatch.undo()
    tap(window, pygame.K_F12)
    assert [path.suffix for path in window.player.folder.iterdir()] == [".png"]


@pytest.mark.skipif(resource is None, reason="this system has no limits of file sizes")
def test_a_recording_that_outgrows_the_disk_ends_and_says_so(window):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    tap(window, pygame.K_F10)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
    try:
        for _ in range(6):
            tap(window, pygame.K_w)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert window.player.frame.index == 6 and not window.player.is_recording
    assert any("the recording has ended" in note for note in notes(window))
    assert not list(window.player.folder.glob("*.mp4"))


def test_words_that_are_refused_change_nothing(window):
    tap(window, pygame.K_w)
    before = (window.player.frame, list(window.player.branch.events), window.player.place.explorer.actions)
    for sentence in ("open the door", "trun left", "walk 1,000 m", "step forward left", "turn left to 90 degrees"):
        with pytest.raises(ActionError):
            window.player.say(sentence)
        window.tick()
    assert (window.player.frame, list(window.player.branch.events), window.player.place.explorer.actions) == before
    assert window.player.queued == 0


@pytest.mark.parametrize("key", ["wombat", "", "spacebar", "pad axis 1", "ctrl+w"])
def test_a_key_that_no_keyboard_has_is_refused_when_the_window_opens(player, tmp_path, key):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": {"forward": ["space", "ж", "left shift", "pad hat up", "pad axis 1 -", key]}}))
    player.held.keymap = load_keymap(path)
    with pytest.raises(KeymapError, match="no key is called"):
        Window(player)


def test_arrows_turn_and_combine_with_letters(window):
    down(pygame.K_w, pygame.K_LEFT)
    window.tick()
    assert window.player.words == "move forward and turn left"


def test_a_key_tapped_between_two_looks_is_one_step(window):
    tap(window, pygame.K_RIGHT)
    window.tick()
    assert window.player.frame.index == 1 and window.player.words == "turn right"


def test_steps_wait_for_their_time_and_events_do_not(player):
    window = Window(player, scale=3, steps_per_s=0.01, waits=True)
    down(pygame.K_w)
    window.tick()
    tap(window, pygame.K_p)
    assert player.frame.index == 1 and player.is_paused
    window.close()


def test_typed_words_are_split_into_steps_and_receipted(window):
    type_in(window, "turn left 90 degrees")
    for _ in range(7):
        window.tick()
    assert window.player.frame.index == 6
    assert "done: turn left 90 degrees (frame 1 to 6)" in notes(window)


def test_typed_words_that_follow_each_other_are_walked_in_that_order(window):
    type_in(window, "turn left 30 degrees, then move forward 0.6 m")
    for _ in range(5):
        window.tick()
    assert [action.text for action in window.player.place.explorer.actions] == ["turn left"] * 2 + ["move forward"] * 2
    assert "done: turn left 30 degrees, then move forward 0.6 m (frame 1 to 4)" in notes(window)


@pytest.mark.parametrize("sentence", ["jump", "open the door", "move forward 3 degrees"])
def test_a_sentence_that_is_not_understood_stays_in_the_box_with_the_reason(window, sentence):
    type_in(window, sentence)
    assert window.box.is_open and window.box.text == sentence
    assert window.box.error and "\n" not in window.box.error
    assert window.player.frame.index == 0
    shown = pygame.surfarray.array3d(window.picture)
    window.box.error = ""
    post(pygame.VIDEOEXPOSE)
    window.tick()
    orange = (255, 183, 77)
    assert (shown == orange).all(-1).any() and not (pygame.surfarray.array3d(window.picture) == orange).all(-1).any()


def test_letters_typed_into_the_box_do_not_walk(window):
    tap(window, pygame.K_TAB)
    tap(window, pygame.K_w)
    window.tick()
    assert window.player.frame.index == 0


def test_opening_the_box_lets_held_keys_go(window):
    down(pygame.K_w, pygame.K_RETURN)
    window.tick()
    window.tick()
    assert window.player.frame.index == 0


def test_the_box_remembers_what_was_typed(window):
    type_in(window, "wait")
    tap(window, pygame.K_RETURN)
    tap(window, pygame.K_UP)
    assert window.box.text == "wait"


def test_pause_holds_the_walk(window):
    tap(window, pygame.K_p)
    down(pygame.K_w)
    window.tick()
    assert window.player.frame.index == 0
    tap(window, pygame.K_p)
    window.tick()
    assert window.player.frame.index > 0


def test_rewind_goes_back_to_the_same_frame_and_stops_at_the_beginning(window):
    first = window.player.frame.digest
    tap(window, pygame.K_w)
    tap(window, pygame.K_BACKSPACE)
    assert window.player.frame.digest == first and len(window.player.trail) == 1
    tap(window, pygame.K_BACKSPACE)
    assert any("cannot rewind" in note for note in notes(window))


def test_a_save_is_loaded_back_to_the_same_frame(window):
    tap(window, pygame.K_a)
    tap(window, pygame.K_F5)
    saved = window.player.frame.digest
    tap(window, pygame.K_w)
    tap(window, pygame.K_F9)
    assert window.player.frame.digest == saved
    tap(window, pygame.K_d)
    assert window.player.frame.index == 2


def test_loading_where_nothing_was_saved_is_a_note(window):
    tap(window, pygame.K_F9)
    assert any("no save" in note for note in notes(window))


def test_a_torn_save_is_a_note_and_the_walk_goes_on(window):
    tap(window, pygame.K_F5)
    save = next(window.player.folder.glob("save-*"))
    save.write_bytes(save.read_bytes()[:150])
    tap(window, pygame.K_F9)
    tap(window, pygame.K_w)
    assert any("no readable scene session" in note for note in notes(window))
    assert window.player.frame.index == 1


def test_saves_overwrite_nothing(window):
    tap(window, pygame.K_F5)
    tap(window, pygame.K_F5)
    assert len(list(window.player.folder.glob("save-*.roam"))) == 2


def test_n_opens_the_next_seed_and_words_open_any(window):
    tap(window, pygame.K_n)
    assert window.player.place.start.seed == 7
    type_in(window, "seed 12")
    assert window.player.place.start.seed == 12 and window.player.frame.index == 0


def test_f10_records_what_is_walked_and_its_log(window):
    tap(window, pygame.K_F10)
    for _ in range(4):
        tap(window, pygame.K_w)
    tap(window, pygame.K_F10)
    video = next(window.player.folder.glob("walk-*.mp4"))
    assert sum(1 for _ in av.open(str(video)).decode(video=0)) == 5
    assert len(video.with_suffix(".jsonl").read_text().splitlines()) == 5


def test_a_new_world_finishes_the_recording(window):
    tap(window, pygame.K_F10)
    tap(window, pygame.K_w)
    tap(window, pygame.K_n)
    assert not window.player.is_recording and any("recorded 2 frames" in note for note in notes(window))


def test_f12_saves_the_window(window):
    tap(window, pygame.K_F12)
    picture = pygame.image.load(str(next(window.player.folder.glob("picture-*.png"))))
    assert picture.get_size() == window.picture.get_size()


def test_the_picture_is_enlarged_by_whole_pixels(window):
    window.notes = []
    tap(window, pygame.K_F3)
    pixels = window.player.frame.pixels
    shown = pygame.surfarray.array3d(window.picture).swapaxes(0, 1)[: 3 * 128, : 3 * 128]
    assert (shown == pixels.repeat(3, axis=0).repeat(3, axis=1)).all()


def test_escape_frees_the_mouse_first_and_quits_second(window):
    post(pygame.MOUSEBUTTONDOWN, button=1, pos=(5, 5))
    window.tick()
    assert window.is_mouse_held
    tap(window, pygame.K_ESCAPE)
    assert window.is_open and not window.is_mouse_held
    tap(window, pygame.K_ESCAPE)
    assert not window.is_open


def test_the_mouse_turns_only_while_it_is_held(window):
    post(pygame.MOUSEMOTION, rel=(80, 0), pos=(5, 5), buttons=(0, 0, 0))
    window.tick()
    assert window.player.frame.index == 0
    post(pygame.MOUSEBUTTONDOWN, button=1, pos=(5, 5))
    post(pygame.MOUSEMOTION, rel=(80, 0), pos=(5, 5), buttons=(0, 0, 0))
    window.tick()
    assert window.player.words == "turn right"


def test_help_and_every_panel_can_be_drawn_at_any_size(window):
    for size in ((900, 500), (200, 120), (60, 58), (1, 1)):
        pygame.display.set_mode(size, pygame.RESIZABLE)
        window.player.notes.append("a long note " * 20)
        tap(window, pygame.K_h)
        tap(window, pygame.K_TAB)
        window.box.error = "a reason " * 30
        window.tick()
        tap(window, pygame.K_ESCAPE)
        tap(window, pygame.K_h)


def test_the_window_closes_itself_when_the_queue_is_walked(window):
    window.player.say("move forward 1.5 m")
    window.run(until_idle=True)
    assert window.player.frame.index == 5


def test_b_branches_off_digits_switch_and_x_closes(window):
    tap(window, pygame.K_w)
    tap(window, pygame.K_b)
    tap(window, pygame.K_LEFT)
    assert window.player.frame.index == 2
    tap(window, pygame.K_1)
    assert window.player.frame.index == 1 and window.player.words == ""
    tap(window, pygame.K_2)
    assert window.player.frame.index == 2 and len(window.player.trail) == 3
    closed = window.player.branch.explorer
    tap(window, pygame.K_x)
    assert len(window.player.branches) == 1 and window.player.frame.index == 1
    with pytest.raises(RuntimeError):
        closed.step(parse_action("move forward"))
    tap(window, pygame.K_x)
    assert any("only branch" in note for note in notes(window))


def test_branches_are_limited_and_a_new_world_closes_them_all(window):
    for _ in range(9):
        tap(window, pygame.K_b)
    assert len(window.player.branches) == 9 and any("close one first" in note for note in notes(window))
    tap(window, pygame.K_n)
    assert len(window.player.branches) == 1


def test_switching_branches_finishes_the_recording(window):
    tap(window, pygame.K_F10)
    tap(window, pygame.K_b)
    tap(window, pygame.K_w)
    assert window.player.is_recording
    tap(window, pygame.K_1)
    assert not window.player.is_recording


def test_a_gamepads_stick_hat_and_buttons_are_keys(window):
    post(pygame.JOYAXISMOTION, instance_id=0, axis=1, value=-0.9)
    window.tick()
    assert window.player.words == "move forward"
    post(pygame.JOYAXISMOTION, instance_id=0, axis=1, value=0.1)
    post(pygame.JOYHATMOTION, instance_id=0, hat=0, value=(1, 0))
    window.tick()
    assert window.player.words == "turn right"
    post(pygame.JOYHATMOTION, instance_id=0, hat=0, value=(0, 0))
    post(pygame.JOYBUTTONDOWN, instance_id=0, button=1)
    post(pygame.JOYBUTTONUP, instance_id=0, button=1)
    window.tick()
    window.tick()
    assert window.player.words == "rewind 1" and window.player.frame.index == 1


def test_a_trembling_stick_is_one_press(window):
    for value in (0.52, 0.48, 0.51, 0.45, 0.2):
        post(pygame.JOYAXISMOTION, instance_id=0, axis=3, value=value)
    for _ in range(3):
        window.tick()
    assert window.player.frame.index == 1


def test_key_to_frame_counts_no_rewinds(window):
    for key in (pygame.K_w, pygame.K_w):
        tap(window, key)
    counted = window.player.key_to_frame.num_measured
    tap(window, pygame.K_BACKSPACE)
    assert window.player.frame.index == 1 and window.player.key_to_frame.num_measured == counted


def test_key_to_frame_is_measured_from_the_press_to_the_picture(window):
    assert window.player.key_to_frame.percentile_ms(50) is None
    tap(window, pygame.K_w)
    tap(window, pygame.K_p)
    tap(window, pygame.K_w)  # leads to no frame
    assert 0 < window.player.key_to_frame.percentile_ms(50) <= window.player.key_to_frame.percentile_ms(95) < 60_000


def test_the_window_answers_while_a_step_takes_its_time(player):
    window, may_end = Window(player, scale=3, steps_per_s=1e6), threading.Event()
    step = player.branch.explorer.step
    player.branch.explorer.step = lambda action: may_end.wait(20) and step(action)
    down(pygame.K_w)
    window.tick()
    tap(window, pygame.K_h)
    assert window.is_help_shown and player.is_busy and player.frame.index == 0
    up(pygame.K_w)
    may_end.set()
    player.wait()
    window.tick()
    assert player.frame.index == 1
    window.close()
