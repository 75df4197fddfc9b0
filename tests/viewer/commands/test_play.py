"""The command line, run in this process: it writes the files that it promises, and bad input ends with one sentence
and exit code 2."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from PIL import Image
from roam.viewer.opening.start import Opener, Start, StartError, first_frame
from roam.viewer.play.player import Player
from roam.world.pose import Pose

TRUTH = ("play", "--truth", "--seed", 6)


def num_frames(path):
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def refused(roam, *args):
    """Run a command that must be refused; returns its sentence, after checking that it is one and that no file has
    changed."""
    before = contents(".")
    code, _, err = roam(*args)
    assert code == 2 and err.count("\n") == 1 and err.startswith("roam: "), (code, err)
    assert contents(".") == before
    return err


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "walk.txt"
    path.write_text("# a short walk\nmove forward\nturn left 45 degrees  # three steps\n\nstep back and turn right\n")
    return path


def test_without_a_display_a_tour_is_recorded_with_as_many_frames_as_promised(roam):
    code, out, _ = roam(*TRUTH, "--frames", 9)
    assert code == 0 and "9 frames" in out and "frames/s" in out and "roam-out/walk-001.mp4" in out
    assert num_frames("roam-out/walk-001.mp4") == 9
    assert Image.open("roam-out/walk-001.gif").n_frames == 9


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere take no such names")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_of_any_bytes_are_told_on_any_terminal(roam, monkeypatch, encoding):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert roam(*TRUTH, "--frames", 2, "--out", os.fsdecode(b"\xff-\xc3\xb6"))[0] == 0
    terminal.flush()
    shown = {"utf-8": "wrote \\udcff-ö/walk-001.mp4", "ascii": r"wrote \udcff-\xf6/walk-001.mp4"}
    assert shown[encoding] in terminal.buffer.getvalue().decode(encoding)


def test_a_second_tour_takes_fresh_names(roam):
    roam(*TRUTH, "--frames", 2)
    before = contents("roam-out")
    roam(*TRUTH, "--frames", 2)
    assert before.items() <= contents("roam-out").items() and Path("roam-out/walk-002.mp4").exists()


def test_a_script_is_walked_in_frame_sized_steps(roam, script):
    assert roam(*TRUTH, "--actions", script, "--record", "a.mp4")[0] == 0
    lines = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines[1:]] == ["move forward", *["turn left"] * 3, "step back and turn right"]
    assert num_frames("a.mp4") == 6


def test_a_script_is_repeated_up_to_the_frames_asked_for(roam, script):
    roam(*TRUTH, "--actions", script, "--frames", 12, "--record", "a.gif")
    assert Image.open("a.gif").n_frames == 12


def test_a_recording_replays_to_the_same_digests(roam):
    roam(*TRUTH, "--frames", 5)
    code, out, _ = roam("replay", "roam-out/walk-001.jsonl")
    assert code == 0 and "5 frames" in out


def test_a_replay_that_differs_says_where_and_exits_1(roam):
    roam(*TRUTH, "--frames", 5)
    log = Path("roam-out/walk-001.jsonl")
    lines = log.read_text().splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | {"digest": "0" * 16})
    log.write_text("\n".join(lines))
    code, out, _ = roam("replay", log)
    assert code == 1 and "line 4" in out


def test_a_window_walks_a_tour_and_closes_itself(roam, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    code, out, _ = roam(*TRUTH, "--frames", 4, "--record", "a.mp4")
    assert code == 0 and "recorded 4 frames" in out and num_frames("a.mp4") == 4


def test_a_save_goes_on_where_it_was(roam, player):
    player.say("move forward 1.5 m")
    while player.step():
        pass
    save = player.save()
    assert roam("play", "--load", save, "--frames", 1)[0] == 0
    head = json.loads(Path("roam-out/walk-001.jsonl").read_text().splitlines()[0])
    assert head["first"] == player.frame.digest


def test_an_unknown_word_in_a_script_is_named_with_its_line(roam, script):
    script.write_text("move forward\nfly away\n")
    assert "line 2: unknown verb 'fly'" in refused(roam, *TRUTH, "--actions", script)


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_a_script_without_actions_is_refused(roam, script, text):
    script.write_text(text)
    assert "holds no action" in refused(roam, *TRUTH, "--actions", script)


def test_a_recording_that_is_there_is_kept_unless_told_otherwise(roam):
    Path("a.mp4").write_text("precious")
    assert "there already" in refused(roam, *TRUTH, "--frames", 2, "--record", "a.mp4")
    assert roam(*TRUTH, "--frames", 2, "--record", "a.mp4", "--overwrite")[0] == 0
    assert num_frames("a.mp4") == 2


def test_the_log_beside_a_recording_is_not_overwritten_either(roam):
    Path("a.jsonl").write_text("precious")
    assert "a.jsonl is there already" in refused(roam, *TRUTH, "--frames", 2, "--record", "a.mp4")


@pytest.mark.parametrize("record", ["a.avi", "a", "file/a.mp4", "."])
def test_a_recording_that_cannot_be_written_is_refused(roam, record):
    Path("file").write_text("not a folder")
    refused(roam, *TRUTH, "--frames", 2, "--record", record)


def test_an_output_folder_that_is_a_file_is_refused(roam):
    Path("file").write_text("not a folder")
    assert "cannot write into" in refused(roam, *TRUTH, "--frames", 2, "--out", "file/out")


def test_a_torn_save_is_refused(roam, player):
    save = player.save()
    save.write_bytes(save.read_bytes()[:200])
    assert "no readable scene session" in refused(roam, "play", "--load", save)


def test_a_save_of_another_version_is_refused(roam, player):
    save = player.save()
    save.write_text(save.read_text().replace('"format": 1', '"format": 99'))
    assert "no scene session of format 1" in refused(roam, "play", "--load", save)


@pytest.mark.parametrize("save", ["none.roam", "."])
def test_a_save_that_is_not_there_is_refused(roam, save):
    assert "cannot read the save" in refused(roam, "play", "--load", save)


@pytest.mark.parametrize("image", [b"", b"no image", b"\x89PNG\r\n\x1a\n\x00\x00", None])
def test_an_image_that_cannot_be_read_is_refused_before_weights_are_read(roam, image, monkeypatch):
    monkeypatch.setattr("roam.world.opening.open_engine", lambda *_, **__: pytest.fail("weights were read"))
    if image is not None:
        Path("a.png").write_bytes(image)
    assert "image" in refused(roam, "play", "--image", "a.png")


def test_an_image_and_the_truth_contradict_each_other(roam):
    assert "leave out one" in refused(roam, "play", "--truth", "--image", "a.png")


def test_an_unknown_family_is_refused(roam):
    assert "rooms, outdoors" in refused(roam, "play", "--truth", "--family", "caves")


@pytest.mark.parametrize("log", ["", "{}", "[]", '{"roam": "action log", "format": 1, "start": {}}', "\x00\xff"])
def test_a_foreign_action_log_is_refused(roam, log):
    Path("a.jsonl").write_text(log)
    refused(roam, "replay", "a.jsonl")


def test_a_torn_action_log_is_refused_with_its_line(roam):
    roam(*TRUTH, "--frames", 3)
    log = Path("roam-out/walk-001.jsonl")
    log.write_text(log.read_text()[:-30])
    assert "line 3" in refused(roam, "replay", log)


def test_an_image_becomes_its_middle_square_at_eye_height(tmp_path):
    picture = Image.new("RGB", (400, 200), "red")
    picture.paste("blue", (100, 0, 300, 200))
    picture.save(tmp_path / "a.png")
    frame = first_frame(tmp_path / "a.png")
    assert frame.pixels.shape == (128, 128, 3) and frame.pose == Pose.at(0, 0, 1.5)
    assert (frame.pixels[:, 4:-4] == (0, 0, 255)).all()  # at its edges the filter reads beyond the square


class StubEngine:
    """Stands for a model: records what it was asked to dream from."""

    frame_side, reads_words = 128, False

    def session(self, first, *, seed, solid):
        self.asked = first.pixels, seed, solid
        return StubDream("dream")

    def load_session(self, path):
        return StubDream(f"dream from {path}")


class StubDream(str):
    """Stands for a session: knows whether walls stop the walker."""

    is_solid = True

    def walked(self, pose, motion):
        return pose


def test_a_dream_begins_with_the_true_first_frame_of_its_scene():
    engine = StubEngine()
    truth = Opener().open(Start(seed=7, truth=True)).explorer.frame
    assert Opener(engine=engine).open(Start(seed=7)).explorer == "dream"
    assert (engine.asked[0] == truth.pixels).all() and engine.asked[1:] == (7, True)
    Opener(engine=engine).open(Start(seed=7, ghost=True))
    assert engine.asked[2] is False


def test_a_save_that_is_no_scene_is_the_engines_to_read(tmp_path):
    (tmp_path / "a.roam").write_bytes(b"weights and pages")
    place = Opener(engine=StubEngine()).open(Start(load=str(tmp_path / "a.roam")))
    assert place.explorer == f"dream from {tmp_path / 'a.roam'}" and place.explorer.is_solid
    ghost = Opener(engine=StubEngine()).open(Start(load=str(tmp_path / "a.roam"), ghost=True))
    assert not ghost.explorer.is_solid


def test_a_ghost_in_a_true_scene_is_refused_and_old_logs_walked_through_walls():
    with pytest.raises(StartError, match="solid for everyone"):
        Start(truth=True, ghost=True)
    old = {"seed": 3, "truth": False, "family": None, "image": None, "load": None, "text": None}
    assert Start.from_dict(old).ghost and not Start.from_dict(old | {"truth": True}).ghost


def test_a_walk_of_nobody_said_how_long_is_as_long_as_a_tour(roam, monkeypatch):
    monkeypatch.setattr("roam.viewer.commands.play.STEPS", 3)
    assert roam(*TRUTH, "--record", "a.mp4")[0] == 0 and num_frames("a.mp4") == 4


def test_record_writes_rollouts_that_training_reads(roam):
    from roam.scenes.recorder import load_recording

    code, out, _ = roam("record", "walks", "--rollouts", 1, "--frames", 2, "--split", "dev", "--workers", 1)
    assert code == 0 and "1 rollouts in 1 files in walks, 0 MB, " in out
    assert float(out.split(" MB, ")[1].split(" s")[0]) < 3600
    assert load_recording(next(Path("walks").glob("*.safetensors"))).pixels.shape == (1, 2, 128, 128, 3)


def test_the_version_is_told(roam):
    code, out, _ = roam("--version")
    assert code == 0 and out.startswith("roam ") and out.strip() != "roam"


def test_bare_train_asks_where_to_instead_of_beginning_two_hours_of_work(roam):
    assert "--out" in refused(roam, "train")


def test_keys_for_a_window_that_there_is_none_of_are_refused(roam):
    assert "leave it out" in refused(roam, "play", "--truth", "--keys", "keys.json")


def test_a_full_disk_is_no_success(roam, monkeypatch):
    monkeypatch.setattr("roam.viewer.play.video.Mp4Sink.write", disk_full)
    code, out, err = roam("play", "--truth", "--frames", "4")
    assert code == 2 and "No space left" in err and "Traceback" not in err
    assert ".mp4" not in out and not list(Path("roam-out").glob("*.mp4"))


def disk_full(*_):
    raise OSError(28, "No space left on device")


SIGNALS = (
    "SIGTERM",
    *(
        pytest.param(name, marks=pytest.mark.slow(reason="the same handler, and a process that imports all"))
        for name in ("SIGHUP", "SIGINT")
    ),
)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_walk_that_is_ended_by_a_signal_keeps_what_was_walked(tmp_path, number):
    args = ["play", "--truth", "--headless", "--actions", "a.txt", "--frames", "100000"]
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's & had it ignored
    code += "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # and so had nohup
    code += f"from roam.viewer.cli import main; main({args})"
    run = [sys.executable, "-c", code]
    (tmp_path / "a.txt").write_text("turn left\n")
    walk = subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "roam-out" / "walk-001.jsonl"
    for _ in range(2000):
        if log.exists() and log.read_text().count("\n") > 5:
            break
        time.sleep(0.1)
    walk.send_signal(getattr(signal, number))
    try:
        _, said = walk.communicate(timeout=240)
    finally:
        walk.kill()
    assert walk.returncode == 128 + getattr(signal, number) and "Traceback" not in said, said
    assert (tmp_path / "roam-out" / "walk-001.mp4").stat().st_size > 1000


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_a_server_whose_terminal_closes_saves_every_walk(tmp_path):
    run = [sys.executable, "-m", "roam.viewer.cli", "serve", "tcp://127.0.0.1:0", "--truth", "--folder", "walks"]
    server = subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline().startswith("serving on tcp://127.0.0.1:")
    server.send_signal(signal.SIGHUP)
    said, _ = server.communicate(timeout=240)
    assert server.returncode == 0 and "every walk is saved" in said


def test_a_log_names_its_weights_wherever_it_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opener = Opener()
    opener.model = "weights"
    player = Player(opener, Start(seed=1, truth=True), folder=tmp_path)
    assert player.log.model == str(tmp_path / "weights")
    player.close()


def test_a_model_that_would_be_ignored_is_refused(roam):
    for option in (("--model", "anywhere"), ("--precision", "fp8"), ("--vision-tokenizer", "there")):
        for command in (("play", "--headless", "--frames", "2"), ("serve", "tcp://127.0.0.1:0")):
            code, _, err = roam(*command, "--truth", *option)
            assert code == 2 and "need" in err and "no model" in err and "leave out --truth" in err, (command, option)


@pytest.mark.parametrize("option", [("--stage", "painting"), ("--device", "tpu")])
def test_what_training_does_not_know_is_refused_before_it_begins(roam, tmp_path, option):
    code, _, err = roam("train", "--out", tmp_path / "run", *option)
    assert code == 2 and err.count("\n") == 1 and option[1] in err and not (tmp_path / "run").exists()
