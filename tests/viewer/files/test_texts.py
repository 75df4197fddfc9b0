"""Files of sentences and keys are read as any editor saves them."""

import codecs

import pytest
from roam.viewer.play.keymap import KeymapError, load_keymap
from roam.viewer.play.script import load_script
from roam.world.action import ActionError

TEXT = "move forward  # a start\nturn left 30°\nlook up\n"
KINDS = {
    "utf-8": b"",
    "utf-8 with a mark": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_actions_are_read_from_any_editor(tmp_path, kind, end):
    path = tmp_path / "walk.txt"
    path.write_bytes(KINDS[kind] + TEXT.replace("\n", end).encode(kind.split()[0]))
    assert [action.motion.yaw_deg for action in load_script(path)] == [0, 15, 15, 0]


NO_TEXTS = {
    "Latin letters": TEXT.encode("cp1252"),
    "bytes": bytes(range(128, 256)),
    "too large": b"x" * (2 << 20),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-32": TEXT.encode("utf-32"),
    "NUL at the end": b"turn left\0",
}


@pytest.mark.parametrize("data", NO_TEXTS.values(), ids=NO_TEXTS)
def test_what_is_no_text_is_one_sentence(tmp_path, data):
    path = tmp_path / "walk.txt"
    path.write_bytes(data)
    for read, error in ((load_script, ActionError), (load_keymap, KeymapError)):
        with pytest.raises(error, match=r"cannot read .*walk\.txt") as refused:
            read(path)
        assert "\n" not in str(refused.value)
