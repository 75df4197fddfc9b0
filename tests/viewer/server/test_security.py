"""Who may connect: without keys only this machine, elsewhere only with keys, and nobody whose key is not on the
list."""

import stat

import pytest
from roam.viewer.client.client import Client
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.commands import serve
from roam.viewer.server.server import Server
from roam.viewer.wire.security import (
    KeyPair,
    SecurityError,
    add_key,
    check_bind,
    is_local,
    list_keys,
    make_key,
    read_key,
)

from .doubles import TinyWorlds


@pytest.fixture
def keys(tmp_path):
    folder = tmp_path / "keys"
    make_key(folder, "server")
    return folder


def let_in(folder, name: str) -> KeyPair:
    pair = make_key(folder, name)
    add_key(folder, name, pair.public)
    return pair


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:5", "tcp://localhost:5", "tcp://[::1]:5", "ipc:///tmp/x"])
def test_addresses_of_this_machine_need_no_keys(address):
    assert is_local(address)
    check_bind(address, has_keys=False)


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:5", "tcp://*:5", "tcp://192.168.1.9:5", "tcp://example.org:5", "tcp://[::]:5"]
)
def test_addresses_that_others_reach_need_keys_or_to_be_meant(address):
    with pytest.raises(SecurityError, match="--open"):
        check_bind(address, has_keys=False)
    check_bind(address, has_keys=True)
    check_bind(address, has_keys=False, is_open=True)


@pytest.mark.parametrize("address", ["tcp://[::1:5555", "tcp://\u2100:1", "tcp://::1:5555", "tcp://[]:1", ""])
def test_what_is_no_address_is_refused_by_name(address):
    assert not is_local(address)
    with pytest.raises(SecurityError, match="no address of a server"):
        check_bind(address, has_keys=False)


@pytest.mark.parametrize("data", [b"\xff\xfe garbage", b"hello", b'curve\n    public-key = "~"\n'])
def test_a_damaged_file_on_the_list_is_named(keys, data):
    (keys / "allowed").mkdir()
    (keys / "allowed" / "ann.key").write_bytes(data)
    with pytest.raises(SecurityError, match=r"ann\.key holds"):
        list_keys(keys)


@pytest.mark.parametrize("kind", ["nothing", "a file", "under a file", "a list that is a file"])
def test_what_is_no_folder_of_keys_is_not_an_empty_list(tmp_path, kind):
    path = tmp_path / "keys"
    if kind == "a list that is a file":
        path.mkdir()
        (path / "allowed").touch()
    elif kind != "nothing":
        path.touch()
        path = path / "below" if kind == "under a file" else path
    with pytest.raises(SecurityError, match=r"no folder of keys at .*keys"):
        list_keys(path)


def test_a_file_where_keys_are_to_be_kept_is_named(tmp_path):
    (tmp_path / "keys").touch()
    for folder in (tmp_path / "keys", tmp_path / "keys" / "below"):
        with pytest.raises(SecurityError, match="file; name a folder for the keys"):
            make_key(folder, "ann")


def test_a_list_of_nobody_says_so(keys, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SecurityError, match="holds no keys"):
        serve.keys_list(folder=tmp_path / "empty")
    serve.keys_list(folder=keys)
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "lets nobody in yet" in said.err


@pytest.mark.parametrize(
    ("failure", "told", "words"),
    [(OSError(28, "No space left on device"), SecurityError, "No space left"), (SystemExit(143), SystemExit, "143")],
)
def test_a_key_pair_that_a_full_disk_does_not_take_or_a_signal_ends_leaves_no_half(
    tmp_path, monkeypatch, failure, told, words
):
    def half(folder, name):
        (folder / f"{name}.key").touch()
        raise failure

    monkeypatch.setattr("zmq.auth.create_certificates", half)
    with pytest.raises(told, match=words):
        make_key(tmp_path, "ann")
    assert not list(tmp_path.iterdir())


def test_a_key_pair_of_which_a_bit_has_flipped_is_told_whichever_it_is(keys):
    make_key(keys, "ann")
    path = keys / "ann.key_secret"
    whole, pair = path.read_bytes(), read_key(keys, "ann")
    for place in range(8 * whole.index(b"curve"), 8 * len(whole), 7):  # a comment stands before
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            # of a blank, of a name that nobody reads, or one of the five bits of a secret that Curve25519 sets itself
            assert read_key(keys, "ann").public == pair.public
        except SecurityError as error:
            assert "ann.key_secret" in str(error)


def test_a_secret_key_of_letters_that_say_too_much_is_told(keys):
    make_key(keys, "ann")
    path = keys / "ann.key_secret"
    path.write_text(path.read_text().replace(read_key(keys, "ann").secret, "#" * 40))
    with pytest.raises(SecurityError, match=r"ann\.key_secret is damaged"):
        read_key(keys, "ann")


@pytest.mark.parametrize("size", range(0, 300, 23))
def test_a_key_pair_that_was_cut_off_is_told(keys, size):
    make_key(keys, "ann")
    path = keys / "ann.key_secret"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SecurityError, match=r"ann\.key_secret"):
        read_key(keys, "ann")


def test_a_server_refuses_an_open_address_before_it_binds(tmp_path):
    with pytest.raises(SecurityError):
        Server(TinyWorlds(), "tcp://0.0.0.0:0", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_key_on_the_list_walks(keys, tmp_path):
    pair = let_in(keys, "ann")
    server_key = read_key(keys, "server").public
    with (
        Server(TinyWorlds(), folder=tmp_path / "walks", keys=keys) as server,
        Client(server.address, server_key=server_key, keys=pair) as client,
    ):
        assert RemoteSession.open(client).frame.index == 0


def test_wrong_keys_and_no_keys_see_no_answer(keys, tmp_path):
    ann, eve = let_in(keys, "ann"), make_key(tmp_path / "others", "eve")
    server_key = read_key(keys, "server").public
    with Server(TinyWorlds(), folder=tmp_path / "walks", keys=keys) as server:
        for wrong in ({}, {"server_key": server_key, "keys": eve}, {"server_key": eve.public, "keys": ann}):
            with pytest.raises(TimeoutError, match="does it let this key in"):
                Client(server.address, timeout_s=0.5, **wrong)
        with Client(server.address, server_key=server_key, keys=ann) as client:
            assert client.stats().clients == 1


def test_a_server_whose_list_is_empty_does_not_start(keys, tmp_path):
    with pytest.raises(SecurityError, match="lets nobody in"):
        Server(TinyWorlds(), folder=tmp_path / "walks", keys=keys)


def test_the_list_names_who_is_let_in(keys):
    ann, bob = let_in(keys, "ann"), let_in(keys, "bob")
    assert list_keys(keys) == {"ann": ann.public, "bob": bob.public}


def test_secret_keys_are_their_owners_alone_and_not_overwritten(keys):
    path = keys / "server.key_secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SecurityError, match="exists"):
        make_key(keys, "server")


@pytest.mark.parametrize("name", ["../up", "", "a b", "a" * 65])
def test_the_name_of_a_key_leads_nowhere_else(keys, name):
    with pytest.raises(SecurityError, match="no name"):
        add_key(keys, name, "x" * 40)


@pytest.mark.parametrize("public", ["hello", '"' * 40, "~" * 40, "a" * 41])
def test_what_is_no_public_key_is_refused(keys, public):
    with pytest.raises(SecurityError, match="no public key"):
        add_key(keys, "ann", public)
    assert not list_keys(keys)


def test_keys_are_made_and_listed_in_the_folder_that_was_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    public = make_key(tmp_path / "elsewhere", "ada").public
    serve.keys_make("server", folder=tmp_path / "keys")
    serve.keys_add("ada", public, folder=tmp_path / "keys")
    capsys.readouterr()
    serve.keys_list(folder=tmp_path / "keys")
    assert capsys.readouterr().out == f"{public}  ada\n"
    assert (tmp_path / "keys" / "server.key_secret").exists() and not (tmp_path / "home").exists()
