"""`roam data check` and `roam replay FOLDER`: what a recording holds, what is missing, and how it looks."""

from pathlib import Path

from ...scenes.recording.test_footage import film


def test_recordings_are_checked_and_one_that_was_changed_is_told(roam):
    assert roam("record", "walks", "--rollouts", 1, "--frames", 3, "--split", "dev", "--workers", 1)[0] == 0
    code, out, _ = roam("data", "check", "walks")
    assert code == 0 and "dev: 1 walks through 1 worlds" in out and "licence: Apache-2.0" in out and "%" in out
    assert next(Path("roam-out").glob("sheet-walks-*.png")).stat().st_size > 1000
    code, out, _ = roam("replay", "walks", "--split", "dev")
    assert code == 0 and "3 frames of scenes:1000000" in out and next(Path("roam-out").glob("dev-0-*.mp4")).exists()
    path = next(Path("walks").glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    code, out, _ = roam("data", "check", "walks")
    assert code == 1 and "is not what was recorded: its hash has changed" in out


def test_footage_is_checked_and_a_video_without_actions_is_told(roam):
    Path("films").mkdir()
    film(Path("films/a.mp4"), [{"t": 1, "words": "walk forward", "pose": [0, 0, 1.5, 90]}], seconds=2)
    film(Path("films/b.mp4"), None, seconds=1)
    code, out, _ = roam("data", "check", "films", "--step-s", 0.5)
    assert code == 1 and "50% of them without an action, 25% with a pose" in out and "100.0%" in out
    assert "missing or wrong: b.mp4 has no actions: wanted b.jsonl beside it" in out
