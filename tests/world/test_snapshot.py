"""A save that a disk refuses is told as what it is, and the save before it stays."""

import errno

import pytest
import torch
from roam.world.snapshot import write_whole

resource = pytest.importorskip("resource", reason="this system has no limits of file sizes")


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path):
    path = tmp_path / "walk.roam"
    write_whole({"a": torch.zeros(3)}, path, {})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"walk\.roam") as refused:
            write_whole({"a": torch.zeros(3000)}, path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.errno == errno.EFBIG and path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["walk.roam"]
    with pytest.raises(OSError, match="No such file"):
        write_whole({"a": torch.zeros(3)}, tmp_path / "gone" / "walk.roam", {})
