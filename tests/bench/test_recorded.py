"""How a model reads a recording, and continues it by a step."""

from roam.bench import recorded
from roam.scenes.recorder import record


def test_a_step_is_nearer_to_the_truth_than_the_frame_before_and_reading_is_far_from_perfect(tmp_path, capsys):
    record(tmp_path, "test", 1, frames=9)
    record(tmp_path / "keyframes", "test", 1, frames=2, walk="keyframes")
    recorded.main([str(tmp_path)])
    told = capsys.readouterr().out.partition(": ")[2].strip().split("; ")
    said = {name: float(value) for name, _, value in (part.rpartition(" ") for part in told)}
    assert said["one step over copy-last, dB"] > 3
    assert 20 < said["painter, dB"] < 45 and 20 < said["tokenizer, dB"] < 45 and 0 < said["depth AbsRel"] < 0.5
