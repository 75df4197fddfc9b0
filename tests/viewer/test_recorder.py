"""Videos hold every frame, and a file under its own name is whole."""

import av
import numpy as np
import pytest
from PIL import Image
from roam.viewer.outputs import OutputError
from roam.viewer.recorder import VideoRecorder


def frames(count, height=48, width=64):
    return [np.full((height, width, 3), 40 + 20 * n, np.uint8) for n in range(count)]


@pytest.mark.parametrize("size", [(128, 128), (33, 47), (720, 640)])
def test_an_mp4_holds_every_frame_in_order(tmp_path, size):
    recorder = VideoRecorder(tmp_path / "a.mp4")
    for pixels in frames(6, *size):
        recorder.add(pixels)
    with av.open(str(recorder.close())) as video:
        means = [frame.to_ndarray(format="rgb24").mean() for frame in video.decode(video=0)]
    assert np.abs(np.array(means) - [40, 60, 80, 100, 120, 140]).max() < 3


def test_a_gif_holds_every_frame_and_repeats(tmp_path):
    recorder = VideoRecorder(tmp_path / "a.gif")
    for pixels in frames(4):
        recorder.add(pixels)
    image = Image.open(recorder.close())
    assert image.n_frames == 4 and image.info["loop"] == 0 and image.size == (256, 192)


def test_the_name_appears_only_when_the_file_is_whole(tmp_path):
    recorder = VideoRecorder(tmp_path / "a.mp4")
    recorder.add(frames(1)[0])
    assert not (tmp_path / "a.mp4").exists()
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_recording_of_nothing_leaves_nothing(tmp_path):
    VideoRecorder(tmp_path / "a.mp4").close()
    VideoRecorder(tmp_path / "a.gif").close()
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_the_codec_refuses_is_told_at_close_and_leaves_nothing(tmp_path):
    recorder = VideoRecorder(tmp_path / "a.mp4")
    recorder.add(np.zeros((4, 4, 7), np.uint8))
    with pytest.raises(OutputError, match=r"recording to .*a\.mp4 failed"):
        recorder.close()
    assert list(tmp_path.iterdir()) == []
