"""A file has its name when it is complete: what breaks off leaves what was there, and nothing else."""

import pytest
from roam.world.files import whole, write_text_whole


@pytest.mark.parametrize("end", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("before", [None, "before"])
def test_a_file_that_is_not_finished_leaves_what_was_there(tmp_path, end, before):
    path = tmp_path / "order.json"
    if before:
        path.write_text(before)
    with pytest.raises(type(end)), whole(path) as partial:
        partial.write_text("hal")
        raise end
    assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_a_finished_file_takes_the_place_of_the_one_before(tmp_path):
    for text in ("½", "one"):
        write_text_whole(tmp_path / ("n" * 250), text)
        assert [file.read_text(encoding="utf-8") for file in tmp_path.iterdir()] == [text]
