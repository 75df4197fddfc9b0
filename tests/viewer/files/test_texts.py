"""Files of sentences and keys are read as any editor saves them."""

import codecs

import pytest
from roam.scenes.env.words import read_table
from roam.scenes.recording.footage import splits_of
from roam.scenes.scene import SceneError
from roam.viewer.commands.examples import scenes_of
from roam.viewer.files.outputs import OutputError
from roam.viewer.play.keymap import KeymapError, load_keymap
from roam.viewer.play.script import load_script
from roam.world.action import ActionError
from roam.world.adaptation.lines import LineError
from roam.world.adaptation.run import AdaptError, read_requests

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


def read_footage(path):
    folder = path.parent
    (folder / "a.mp4").touch()
    path.replace(folder / "splits.json")
    return splits_of(folder)["dev"][0].name


OBJECTS = {  # what people write in JSON, and what is read of it
    "a list of splits": (read_footage, '{\n"dev": ["a.mp4"]\n}', "a.mp4", SceneError),
    "a table of words": (
        lambda path: read_table(path).words[0].text,
        '{\n"öffne die Tür": 5\n}',
        "öffne die Tür",
        SceneError,
    ),
    "words for worlds": (
        lambda path: scenes_of(path)["maze"],
        '{"maze":\n"größer"}',
        "größer",
        OutputError,
    ),
    "requests": (
        lambda path: next(read_requests(path, {})).question,
        '\n{"task": "t2i", "question": "eine Tür\u2028und\u0085Fenster"}\n',
        "eine Tür\u2028und\u0085Fenster",
        (AdaptError, LineError),
    ),
    "keys": (lambda path: load_keymap(path).keys["forward"], '{"keys":\n{"forward": ["ü"]}}', ("ü",), KeymapError),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("read", "text", "told", "_"), OBJECTS.values(), ids=OBJECTS)
def test_what_people_write_in_json_is_read_from_any_editor(tmp_path, kind, end, read, text, told, _):
    path = tmp_path / "written.json"
    path.write_bytes(KINDS[kind] + text.replace("\n", end).encode(kind.split()[0]))
    assert read(path) == told


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff{}", b"{\0}", b"", b"{", b"7", b'"a"', b"null"]
)
@pytest.mark.parametrize(("read", "_text", "_told", "error"), OBJECTS.values(), ids=OBJECTS)
def test_json_that_says_nothing_is_one_sentence(tmp_path, data, read, _text, _told, error):
    path = tmp_path / "written.json"
    path.write_bytes(data)
    with pytest.raises(error if data or error is not OBJECTS["requests"][-1] else StopIteration) as refused:
        read(path)
    assert "\n" not in str(refused.value)


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
