"""The same window and player on a world that another program serves: here a server of true scenes on this machine."""

import time

import pytest
from roam.viewer.client.client import Client, ServerError
from roam.viewer.client.knock import ViewError, check_address
from roam.viewer.commands.view import RemoteOpener
from roam.viewer.opening.start import Opener, Start
from roam.viewer.opening.worlds import SceneWorlds
from roam.viewer.play.action_log import first_difference, replay
from roam.viewer.play.player import Player, PlayerError
from roam.viewer.server.server import Server
from roam.viewer.server.socket import ServerSocket
from roam.viewer.window.window import Window


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile what the server's first step needs, which would otherwise take longer than its heartbeat may be
    silent."""
    from roam.world.action import parse_action

    Opener().open(Start(6, truth=True)).explorer.step(parse_action("move forward"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "walks"


@pytest.fixture
def server(folder):
    with Server(SceneWorlds(), folder=folder) as server:
        yield server


@pytest.fixture
def player(server, tmp_path):
    with Client(server.address, patience_s=10) as client:
        player = Player(RemoteOpener(client), Start(6), folder=tmp_path / "out", connection=client)
        yield player
        player.close()


def walk(player, text):
    player.say(text)
    while player.queued:
        player.step()


def wait_until(is_so, seconds=120):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_remote_walk_is_receipted_and_replays_here_to_the_same_digests(player):
    walk(player, "turn left 45 degrees")
    player.rewind()
    walk(player, "move forward")
    assert "done: turn left 45 degrees (frame 1 to 3)" in player.notes
    local = Opener().open(Start.from_dict(player.log.start)).explorer
    assert first_difference(replay(local, player.log)) is None


def test_a_remote_save_is_loaded_back_to_the_same_frame(player):
    walk(player, "move forward 1.5 m")
    saved = player.frame.digest
    player.save()
    walk(player, "turn left")
    player.load()
    assert player.frame.digest == saved


def test_remote_branches_go_their_own_ways_and_are_closed_on_the_server(player, server):
    player.fork()
    walk(player, "turn left")
    player.switch(0)
    assert player.frame.index == 0 and player.branches[1].explorer.frame.index == 1
    player.close_branch()
    assert player.opener.client.stats().sessions == 1


def test_what_a_server_refuses_is_a_note_and_the_walk_goes_on(player):
    with pytest.raises(ServerError, match="caves"):
        player.opener.open(Start(6, family="caves"))
    walk(player, "move forward")
    assert player.frame.index == 1


def test_a_lost_connection_is_told_and_mended(folder, tmp_path):
    with Server(SceneWorlds(), folder=folder) as server:
        client = Client(server.address, patience_s=1.5)
        player = Player(RemoteOpener(client), Start(6), folder=tmp_path / "out", connection=client)
        walk(player, "move forward")
    wait_until(lambda: player.is_cut_off)
    player.say("turn left")
    assert player.begin(lambda: None)  # nothing waits for it
    with pytest.raises(PlayerError, match="connection is lost"):
        player.save()
    with Server(SceneWorlds(), server.address, folder=folder):
        wait_until(lambda: player.finish() is not None)
        assert not player.is_cut_off and player.frame.index == 2 and player.words == "turn left"
        player.close()
    client.close()


@pytest.mark.parametrize("is_told", [True, False])
def test_the_window_tells_of_a_servers_goodbye_and_of_one_that_is_lost(folder, tmp_path, monkeypatch, is_told):
    with Server(SceneWorlds(), folder=folder) as server:
        client = Client(server.address, patience_s=60 if is_told else 1.5)  # the goodbye is not waited for
        player = Player(RemoteOpener(client), Start(6), folder=tmp_path / "out", connection=client)
        window = Window(player, waits=True)
        if not is_told:
            monkeypatch.setattr(ServerSocket, "send", lambda *_: None)

    def shows(text):
        window.tick()
        return any(text in note for _, note in window.notes)

    wait_until(lambda: shows("goodbye from the server: the server closes; your walk is kept" if is_told else "is lost"))
    assert window.status.is_cut_off
    monkeypatch.undo()
    with Server(SceneWorlds(), server.address, folder=folder):
        wait_until(lambda: shows("connected again"))
        walk(player, "move forward")
        assert player.frame.index == 1
        player.close()
    client.close()
    window.close()


def test_a_step_that_waits_for_a_lost_server_ends_when_the_client_hangs_up(folder, tmp_path):
    with Server(SceneWorlds(), folder=folder) as server:
        client = Client(server.address, patience_s=1.5)
        player = Player(RemoteOpener(client), Start(6), folder=tmp_path / "out", connection=client)
    wait_until(lambda: player.is_cut_off)
    player.say("turn left")
    player.begin(lambda: None)
    player.close()
    client.close()
    player.wait()
    assert player.finish() is None and "hung up" in player.notes[-1]


@pytest.mark.parametrize("address", ["localhost:5555", "tcp://", "tcp://host", "tcp://host:far", "http://host:80", ""])
def test_what_is_no_address_is_refused_with_an_example(address):
    with pytest.raises(ViewError, match="wanted for instance tcp"):
        check_address(address)


def test_nobody_at_the_address_is_one_sentence(roam, monkeypatch):
    monkeypatch.setattr("roam.viewer.client.knock.KNOCK_S", 0.3)
    code, _, err = roam("view", "tcp://127.0.0.1:9")
    assert code == 2 and err.count("\n") == 1 and "no server answers at tcp://127.0.0.1:9" in err


def test_a_server_key_without_ones_own_is_refused(roam):
    code, _, err = roam("view", "tcp://127.0.0.1:9", "--server-key", "x" * 40)
    assert code == 2 and "--keys" in err
