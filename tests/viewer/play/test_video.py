"""Videos hold every frame, and a file gets its final name only when it is complete."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from roam.viewer.files.outputs import OutputError
from roam.viewer.play.video import GifSink, VideoRecorder


def frames(count, height=48, width=64):
    return [np.full((height, width, 3), 40 + 20 * n, np.uint8) for n in range(count)]


@pytest.mark.parametrize("size", [(128, 128), (33, 47), (603, 640), (640, 603)])
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


def test_a_gif_keeps_no_frames_and_their_colours(tmp_path):
    sink = GifSink(tmp_path / "a.gif", 10)
    shades = np.random.default_rng(0).integers(0, 255, (5, 1, 1, 3), dtype=np.uint8).repeat(20, 1).repeat(30, 2)
    sizes = []
    for pixels in shades:
        sink.write(pixels)
        sizes.append(sum(part.nbytes for part in vars(sink).values() if isinstance(part, np.ndarray)))
    sink.close()
    image = Image.open(tmp_path / "a.gif")
    for number, pixels in enumerate(shades):
        image.seek(number)
        assert image.info["duration"] == 100
        assert np.abs(np.asarray(image.convert("RGB"))[::8, ::8].astype(int) - pixels[0, 0]).max() <= 1
    assert not any(isinstance(part, list) for part in vars(sink).values()) and not any(sizes)


@pytest.mark.parametrize("name", ["12:30", "100%d", "-o", "#1 ü 走", " a ", "x" * 240, "http://x".replace("/", "")])
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_any_name_of_a_file_is_one(tmp_path, name, suffix):
    recorder = VideoRecorder(tmp_path / f"{name}{suffix}")
    for pixels in frames(2):
        recorder.add(pixels)
    assert recorder.close().stat().st_size > 100
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}{suffix}"]


def test_the_name_appears_only_when_the_file_is_whole(tmp_path):
    recorder = VideoRecorder(tmp_path / "a.mp4")
    recorder.add(frames(1)[0])
    assert not (tmp_path / "a.mp4").exists()
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("leads", ["elsewhere.mp4", "a.mp4"])
def test_a_link_that_leads_nowhere_is_not_replaced_unasked(tmp_path, leads):
    link = tmp_path / "a.mp4"
    link.symlink_to(leads)
    with pytest.raises(OutputError, match="is there already"):
        VideoRecorder(link)
    assert link.is_symlink()


def test_a_recording_of_nothing_leaves_nothing(tmp_path):
    VideoRecorder(tmp_path / "a.mp4").close()
    VideoRecorder(tmp_path / "a.gif").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_signal_while_a_recording_gets_its_name_leaves_nothing(tmp_path, monkeypatch, name):
    def ended(*_):
        raise SystemExit(143)

    recorder = VideoRecorder(tmp_path / name)
    recorder.add(frames(1)[0])
    monkeypatch.setattr(Path, "replace", ended)
    with pytest.raises(SystemExit):
        recorder.close()
    assert list(tmp_path.iterdir()) == []


BEGUN = """
import sys
import numpy as np
from roam.viewer.play.video import VideoRecorder
VideoRecorder("a.gif").add(np.zeros((8, 8, 3), np.uint8))
sys.exit(143)
"""


def test_a_program_that_ends_before_its_recording_leaves_nothing(tmp_path):
    assert subprocess.run([sys.executable, "-c", BEGUN], cwd=tmp_path).returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_the_codec_refuses_is_told_at_close_and_leaves_nothing(tmp_path):
    recorder = VideoRecorder(tmp_path / "a.mp4")
    recorder.add(np.zeros((4, 4, 7), np.uint8))
    with pytest.raises(OutputError, match=r"recording to .*a\.mp4 failed"):
        recorder.close()
    assert list(tmp_path.iterdir()) == []
