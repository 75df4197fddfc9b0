"""A user's own footage: videos with their actions become recordings, and what is wrong with them is reported."""

import json
import os

import numpy as np
import pytest
from roam.scenes.recorder import load_recording, record
from roam.scenes.recording.footage import FootageSource, pieces, read_clip, splits_of
from roam.scenes.recording.walked import SourceOptions
from roam.scenes.scene import SceneError
from roam.world.action import Action
from roam.world.pose import Camera, Motion

SMALL = Camera(16, 16)


def film(path, lines, seconds=4, size=(48, 32)):
    """A video whose frames get brighter, ten a second, and its sidecar."""
    import av

    with av.open(str(path), "w") as held:
        stream = held.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for k in range(10 * seconds):
            picture = np.full((size[1], size[0], 3), 5 * k, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                held.mux(packet)
        for packet in stream.encode():
            held.mux(packet)
    if lines is not None:
        path.with_suffix(".jsonl").write_text("\n".join(json.dumps(line) for line in lines))


def test_footage_becomes_walks_of_frames_and_what_was_done_between_them(tmp_path):
    lines = [
        {"t": 0, "words": "walk forward", "motion": [1.0, 0, 0, 0]},
        {"t": 1, "words": "turn left"},
        {"frame": 20, "motion": [0, 0, 40, 0]},
    ]
    film(tmp_path / "a.mp4", lines)
    (tmp_path / "splits.json").write_text('{"dev": ["a.mp4"]}')
    path = record(
        tmp_path / "data",
        "dev",
        99,
        frames=5,
        camera=SMALL,
        source=f"footage:{tmp_path}",
        workers=1,
        options=SourceOptions(step_s=0.5),
    )[0]
    held = load_recording(path)
    assert held.pixels.shape == (1, 5, 16, 16, 3) and held.depth is None and held.poses is None
    assert [int(frame.mean()) // 5 for frame in held.pixels[0]] == pytest.approx([0, 5, 10, 15, 20], abs=1)
    assert held.actions[0] == [
        Action("walk forward", Motion(0.5)),
        Action("walk forward", Motion(0.5)),
        Action("turn left"),
        Action("turn left"),
    ]
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.action(2, 2.5) == Action("turn left 10 degrees", Motion(yaw_deg=10))


def test_what_nobody_did_anything_in_is_left_out(tmp_path):
    film(tmp_path / "a.mp4", [{"t": 2, "words": "run"}])
    clip = read_clip(tmp_path / "a.mp4")
    assert pieces(clip, 3, 0.5) == [4] and clip.action(0, 0.5) is None
    with pytest.raises(SceneError, match="has no 9 frames in a row with actions in the split"):
        FootageSource(f"footage:{tmp_path}", SourceOptions(step_s=0.5)).check(
            next(split for split, held in splits_of(tmp_path).items() if held), 9
        )


def test_poses_are_kept_where_every_frame_has_one(tmp_path):
    film(tmp_path / "a.mp4", [{"t": k / 2, "words": "go", "pose": [k, 0, 1.5, 90]} for k in range(8)])
    (tmp_path / "splits.json").write_text('{"train": ["a.mp4"]}')
    source = FootageSource(f"footage:{tmp_path}", SourceOptions(step_s=0.5, fit="letterbox"))
    walked = next(source.rollouts("train", range(1), 4, SMALL, "steps"))
    assert [pose.position[0] for pose in walked.poses] == [0, 1, 2, 3]
    assert walked.pixels[3, 0].max() < 3 < walked.pixels[3, 8].min()  # a wide picture stands between black bars


@pytest.mark.parametrize(
    "lines, told",
    [
        (None, "a.mp4 has no actions: wanted a.jsonl beside it"),
        ([{"t": 1, "words": "a"}, {"t": 0.5, "words": "b"}], "a.jsonl, line 2: 0.5 s after 1 s; wanted lines in order"),
        ([{"t": 1, "word": "a"}], "a.jsonl, line 1: unknown 'word'; known: frame, motion, pose, t, words"),
        ([{"words": "a"}], "a.jsonl, line 1: wanted 't' in seconds or 'frame', one of the two"),
        ([{"t": 1, "motion": [1, 2, 3, 4, 5]}], "a.jsonl, line 1: Motion"),
        ([], "a.jsonl holds no actions"),
    ],
)
def test_a_sidecar_that_is_wrong_is_told_by_its_line(tmp_path, lines, told):
    film(tmp_path / "a.mp4", lines, seconds=1)
    with pytest.raises(SceneError, match=told.split(": Motion")[0]):
        read_clip(tmp_path / "a.mp4")


def test_what_is_no_video_and_a_list_of_splits_that_is_wrong_are_told(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")  # reading one would block for ever
    with pytest.raises(SceneError, match="no videos in"):
        splits_of(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"torn")
    with pytest.raises(SceneError, match=r"a\.mp4 is no video that can be read"):
        read_clip(tmp_path / "a.mp4")
    (tmp_path / "splits.json").write_text('{"train": ["a.mp4"], "dev": ["a.mp4"]}')
    with pytest.raises(SceneError, match=r"splits\.json: wanted train, dev and test, each with videos that are there"):
        splits_of(tmp_path)
