"""Protocol 1 packs to the same bytes for ever, unpacks to the same messages, and refuses everything else with the
name of the fault."""

from dataclasses import fields

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roam.viewer.wire import protocol as p
from roam.viewer.wire.fields import FieldError

from .examples import EXAMPLES
from .golden import PAGE, golden_bytes, page, written_bytes
from .ranges import headers, told_fields

names = st.text("abcXYZ09_-", min_size=1, max_size=64)
hexes = st.text("0123456789abcdef", min_size=1, max_size=64)
wholes = st.integers(0, 2**63 - 1)
reals = st.floats(-1e15, 1e15)
steps = st.tuples(*[st.floats(-30, 30)] * 2, *[st.floats(-360, 360)] * 2)
places = st.tuples(*[st.floats(-1e9, 1e9)] * 3, *[st.floats(-1, 1)] * 4)
texts = st.text(max_size=100)
views = {
    "seq": wholes,
    "encoding": st.sampled_from(["raw", "jpeg"]),
    "quality": st.integers(1, 100),
    "depth": st.sampled_from(["", "f32", "u16mm"]),
    "tokens": st.booleans(),
    "credits": st.integers(0, 16),
}
messages = st.one_of(
    st.builds(p.Hello, versions=st.lists(st.integers(0, 99), max_size=16).map(tuple), client=texts),
    st.builds(p.Open, model=texts, world=texts, seed=wholes, text=texts, **views),
    st.builds(p.Load, name=names, **views),
    st.builds(p.Resume, token=hexes, **views),
    st.builds(
        p.Act,
        seq=wholes,
        session=hexes,
        mode=st.sampled_from(["hold", "once"]),
        text=texts,
        motion=st.one_of(st.just(()), steps),
        clock=reals,
    ),
    st.builds(p.Credit, session=hexes, frames=st.integers(1, 16)),
    st.builds(p.Rewind, seq=wholes, session=hexes, frames=wholes),
    st.builds(p.Receipt, session=hexes, seq=wholes, status=st.sampled_from(["applied", "refused"]), reason=texts),
    st.builds(p.Error, seq=wholes, code=st.sampled_from(p.ERROR_CODES), message=texts),
    st.builds(
        p.FrameHead,
        session=hexes,
        index=wholes,
        width=st.integers(1, 4096),
        height=st.integers(1, 4096),
        encoding=st.sampled_from(["raw", "jpeg"]),
        pixel_bytes=st.integers(0, 9**7),
        clock=reals,
        pose=st.one_of(st.just(()), places),
        grid=st.tuples(st.integers(0, 64), st.integers(0, 64)),
    ),
)


@given(messages)
def test_what_is_packed_unpacks_to_the_same(message):
    assert p.unpack(p.pack(message), p.MESSAGES) == (message, b"")


def test_there_is_an_example_of_every_message():
    assert {type(example) for example in EXAMPLES} == set(p.MESSAGES.values())


def test_examples_pack_to_the_golden_bytes_of_the_page():
    written = {name: code.replace("\n", "") for name, code in written_bytes().items()}
    assert golden_bytes() == written


def test_golden_bytes_unpack_to_the_examples():
    for example in EXAMPLES:
        header = bytes.fromhex(written_bytes()[example.TYPE].replace("\n", ""))
        assert p.unpack([header], p.MESSAGES)[0] == example


def test_the_page_has_the_fields_as_they_are():
    assert page() == PAGE.read_text()


def test_keys_that_are_not_known_are_ignored():
    header = msgpack.packb({"v": 9, "type": "ping", "clock": 1.5, "mood": "curious"})
    assert p.unpack([header], p.CLIENT_MESSAGES)[0] == p.Ping(clock=1.5)


def test_keys_that_are_left_out_have_their_defaults():
    header = msgpack.packb({"type": "open", "seq": 4})
    assert p.unpack([header], p.CLIENT_MESSAGES)[0] == p.Open(seq=4)


def refusal(parts, known=p.CLIENT_MESSAGES) -> p.ProtocolError:
    with pytest.raises(p.ProtocolError) as caught:
        p.unpack(parts, known)
    return caught.value


def test_a_key_that_comes_twice_is_refused():
    """Programs differ in which of two they take: what one checked, another would have done."""
    twice = b"\x83" + b"".join(map(msgpack.packb, ["type", "stats", "seq", 1, "seq", 2]))
    with pytest.raises(p.ProtocolError, match="a key comes twice") as told:
        p.unpack([twice], p.CLIENT_MESSAGES)
    assert told.value.code == "malformed"


def test_a_type_that_is_not_known_is_refused_with_its_seq():
    error = refusal([msgpack.packb({"type": "dance", "seq": 7})])
    assert (error.code, error.seq) == ("unknown_type", 7)


def test_a_client_cannot_say_what_servers_say():
    assert refusal(p.pack(p.Pong())).code == "unknown_type"


def test_a_header_beyond_64_kb_is_refused_unread():
    assert refusal([b"\x00" * (p.MAX_HEADER + 1)]).code == "too_large"


def test_a_payload_where_none_belongs_is_refused():
    assert refusal([p.pack(p.Ping())[0], b"x"]).code == "too_large"


def test_a_message_of_no_part_or_three_is_refused():
    assert refusal([]).code == refusal([b"", b"", b""]).code == "malformed"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        b"\xde\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\xc7\x08\x05" + b"x" * 8,
        b"\xd6\xff\x00\x00\x00\x00",
        b"cos\nsystem\n(S'true'\ntR.",
        msgpack.packb(["type", "ping"]),
        msgpack.packb({"type": 3}),
        msgpack.packb({1: 2}),
        msgpack.packb({"type": b"ping"}),
        b"\x81\xa4type\xa2\xff\xfe",
    ],
)
def test_what_is_no_header_is_malformed(header):
    assert refusal([header]).code == "malformed"


@pytest.mark.parametrize(
    "values",
    [
        {"seq": -1},
        {"seq": True},
        {"seq": 1.0},
        {"seq": 2**63},
        {"session": "XYZ"},
        {"session": "0" * 65},
        {"session": "../up"},
        {"mode": "push"},
        {"text": "a" * 401},
        {"text": 5},
        {"motion": [1.0]},
        {"motion": [1.0, 2.0, 3.0, float("nan")]},
        {"motion": [float("inf")] * 4},
        {"motion": "1234"},
        {"clock": None},
    ],
)
def test_a_value_outside_its_kind_is_malformed(values):
    good = {"type": "act", "seq": 1, "session": "ab", "text": "wait"}
    assert refusal([msgpack.packb(good | values)]).code == "malformed"


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a\\b", "a" * 65, "nul\0", "a\n"])
def test_the_name_of_a_save_leads_nowhere_else(name):
    with pytest.raises(FieldError):
        p.Save(seq=1, session="ab", name=name)


@given(st.lists(st.binary(max_size=300), max_size=3))
def test_any_bytes_at_all_are_read_or_refused(parts):
    try:
        p.unpack(parts, p.CLIENT_MESSAGES)
    except p.ProtocolError as error:
        assert error.code in p.ERROR_CODES


@given(
    st.dictionaries(
        st.sampled_from(["type", "seq", "session", "text", "versions", "frames", "motion", "name", "token"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**64 - 1)
            | st.floats()
            | st.text(max_size=20)
            | st.binary(max_size=20)
            | st.sampled_from(sorted(p.CLIENT_MESSAGES)),
            lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
            max_leaves=8,
        ),
    )
)
def test_any_map_at_all_is_read_or_refused(header):
    try:
        p.unpack([msgpack.packb(header)], p.CLIENT_MESSAGES)
    except p.ProtocolError as error:
        assert error.code in p.ERROR_CODES


BEYOND = [-(2**62), 2**64, 9e299, float("nan"), float("-inf")]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.TYPE)
def test_every_number_of_every_message_has_a_range_that_the_page_tells(example):
    for f in fields(example):
        if not str(f.type).startswith(("int", "float", "tuple[int", "tuple[float")):
            continue
        assert f.metadata["range"], f.name
        value = getattr(example, f.name)
        for beyond in BEYOND:
            wrong = (beyond,) * len(value) if isinstance(value, tuple) else beyond
            changed = {one.name: getattr(example, one.name) for one in fields(example)} | {f.name: wrong}
            with pytest.raises(FieldError):
                type(example)(**changed)
                pytest.fail(f"{f.name} may be {beyond}")


@pytest.mark.parametrize("kind", p.MESSAGES)
def test_the_door_takes_what_the_page_says_and_nothing_beyond(kind):
    for _, name, type_, span in (row for row in told_fields() if row[0] == kind):
        good, bad = headers(kind, name, type_, span)
        for header in good:
            p.unpack([header], p.MESSAGES)
        for header in bad:
            with pytest.raises(p.ProtocolError) as refused:
                p.unpack([header], p.MESSAGES)
                pytest.fail(f"{name} may be {msgpack.unpackb(header)[name]!r}")
            assert refused.value.code == "malformed"


def test_the_page_tells_of_every_field():
    assert {(kind, name) for kind, name, *_ in told_fields()} == {
        (kind.TYPE, f.name) for kind in p.MESSAGES.values() for f in fields(kind)
    }


@pytest.mark.parametrize("kind", [*p.CLIENT_MESSAGES.values(), *p.SERVER_MESSAGES.values()], ids=lambda kind: kind.TYPE)
def test_the_fields_of_a_message_are_named_and_stay_as_they_are(kind):
    with pytest.raises(TypeError, match="positional"):
        kind("a")
    assert kind.__dataclass_params__.frozen
