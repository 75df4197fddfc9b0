"""The same messages over WebSocket, and the page for walking, in a real browser where there is one."""

import contextlib
import re
import time
import urllib.error
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roam.viewer.client.remote_session import RemoteSession
from roam.viewer.server.gateway import Gateway, GatewayError, join, split
from roam.viewer.server.registry import Limits
from roam.viewer.server.server import Server
from roam.viewer.wire import protocol as p
from roam.viewer.wire.security import SecurityError
from roam.world.action import parse_action

from ..wire.ranges import headers, told_fields
from .doubles import Tiny, TinyWorlds

websocket = pytest.importorskip("websockets.sync.client", reason="needs websockets: pip install 'roam-worlds[serve]'")
from websockets.exceptions import InvalidStatus  # noqa: E402


@pytest.fixture
def gateway(server):
    with Gateway(server.address) as gateway:
        yield gateway


def connect(gateway, **options):
    return websocket.connect(gateway.url.replace("http", "ws") + "ws", open_timeout=60, **options)


def say(page, message: p.Message) -> None:
    page.send(join(p.pack(message)))


def read_until(page, kind):
    while True:
        message, payload = p.unpack(split(page.recv(timeout=60)), p.SERVER_MESSAGES)
        if isinstance(message, kind):
            return message, payload


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=300))
def test_what_is_joined_splits_to_the_same(header, payload):
    parts = [header, payload] if payload else [header]
    assert split(join(parts)) == parts


@pytest.mark.parametrize(
    "message", ["text", b"", b"\1\0\0", b"\0\0\0\0", b"\5\0\0\0abcd", b"\xff\xff\xff\xff" + b"x" * 70000]
)
def test_what_is_no_message_does_not_split(message):
    assert split(message) is None


@pytest.mark.parametrize(("size", "is_one"), [(p.MAX_HEADER, True), (p.MAX_HEADER + 1, False)])
def test_a_header_is_as_long_as_messages_may_have_them_and_no_longer(size, is_one):
    assert (split(join([bytes(size), b"payload"])) is not None) == is_one


def test_a_walk_over_websocket_has_the_digests_of_the_local_one(gateway):
    with connect(gateway) as page:
        say(page, p.Hello(versions=(1,)))
        assert read_until(page, p.Welcome)[0].version == 1
        say(page, p.Open(seq=1, seed=6, credits=2))
        session = read_until(page, p.Opened)[0].session
        say(page, p.Act(seq=2, session=session, mode="once", text="move forward"))
        heads = [read_until(page, p.FrameHead) for _ in range(2)]
    frame = Tiny(6).step(parse_action("move forward"))
    assert heads[1][0].digest == frame.digest
    assert bytes(heads[1][1]) == frame.pixels.tobytes()


def test_words_without_a_motion_are_refused_through_a_page_and_cost_the_walk_nothing(tmp_path):
    """Such words were once receipted as done, and the pose and memory were lost for good."""
    worlds = TinyWorlds()
    worlds.reads_words = False
    with Server(worlds, folder=tmp_path) as server, Gateway(server.address) as gateway, connect(gateway) as page:
        say(page, p.Hello(versions=(2, 1)))
        say(page, p.Open(seq=1, seed=6, credits=4))
        session = read_until(page, p.Opened)[0].session
        assert read_until(page, p.FrameHead)[0].index == 0
        for seq, mode in ((2, "once"), (3, "hold")):
            say(page, p.Act(seq=seq, session=session, mode=mode, text="open the door"))
            receipt = read_until(page, p.Receipt)[0]
            assert (receipt.seq, receipt.status) == (seq, "refused") and "unknown verb" in receipt.reason
        say(page, p.Act(seq=4, session=session, mode="once", text="move forward"))
        head = read_until(page, p.FrameHead)[0]
    assert head.index == 1 and head.pose
    assert head.digest == Tiny(6).step(parse_action("move forward")).digest


def test_nonsense_ends_one_page_and_no_other(gateway):
    with connect(gateway) as good, connect(gateway) as bad:
        bad.send("hello?")
        with pytest.raises(Exception, match="1003"):
            bad.recv(timeout=30)
        say(good, p.Hello(versions=(1,)))
        assert read_until(good, p.Welcome)


def errors_until_pong(page) -> list[str]:
    """The codes and sentences of all errors that came before the answer to a ping."""
    errors = []
    for message in (p.Hello(versions=(1,)), p.Ping(clock=77.5)):  # hello again: it may just have said goodbye
        say(page, message)
    while getattr(message := p.unpack(split(page.recv(timeout=60)), p.SERVER_MESSAGES)[0], "clock", 0) != 77.5:
        errors += [f"{message.code}: {message.message}"] if isinstance(message, p.Error) else []
    return errors


@pytest.mark.parametrize("limits", [Limits(messages_per_s=10_000)], ids=["quick"])
@pytest.mark.parametrize("kind", p.CLIENT_MESSAGES)
def test_a_page_may_say_what_the_protocol_says_and_nothing_beyond(gateway, kind):
    with connect(gateway) as page:
        say(page, p.Hello(versions=(1,)))
        for name, type_, span in (row[1:] for row in told_fields() if row[0] == kind):
            good, bad = headers(kind, name, type_, span)
            refusals = (f"malformed: {kind}.{name}", "malformed: the header is no msgpack")
            for header in good:
                page.send(join([header]))
                assert not [error for error in errors_until_pong(page) if error.startswith(refusals)]
            for header in bad:
                page.send(join([header]))
                assert [error for error in errors_until_pong(page) if error.startswith(refusals)]


@pytest.mark.parametrize("origin", ["https://example.org", "https://[", "null"])
def test_pages_of_other_sites_are_refused(gateway, origin):
    with pytest.raises(InvalidStatus, match="403"):
        connect(gateway, origin=origin)


def test_what_is_no_origin_is_refused_by_name():
    for origin in ("https://[", "https://", "example.org", "ftp://example.org"):
        with pytest.raises(GatewayError, match="is no origin"):
            Gateway("tcp://127.0.0.1:1", allow_origins=[origin])


def test_a_foreign_name_that_was_made_to_point_here_is_refused(gateway):
    request = urllib.request.Request(gateway.url, headers={"Host": "example.org"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)


def test_a_gateway_for_everyone_must_be_meant(server):
    with pytest.raises(SecurityError, match="--open"):
        Gateway(server.address, host="0.0.0.0")


@pytest.fixture
def browser(gateway, chromium):
    """The page, in a window of its own."""
    with contextlib.closing(chromium.page(gateway.url)) as page:
        yield page


def test_the_page_walks_with_keys_words_and_touch(server, client, browser):
    browser.wait_for("roam.index >= 0 && roam.session")
    assert browser.value("roam.digest") == Tiny(0).frame.digest
    drawn = browser.value(
        "Array.from(pen.getImageData(0, 0, canvas.width, canvas.height).data).reduce((a, b) => a + b)"
    )
    assert drawn > 8 * 6 * 255  # more than black

    browser.key("KeyW", True)
    browser.wait_for("roam.index >= 3 && roam.action === 'move forward'")
    browser.key("KeyW", False)
    browser.wait_for("!heldSeq && !isHoldStale && heldText === ''")
    client.open()  # steps run in the order in which they began: once this one has ended, the earlier one has too
    index = server.metrics.steps
    browser.wait_for(f"roam.index === {index}")
    client.open()
    assert server.metrics.steps == index

    browser.key("ArrowLeft", True)  # a tap: shorter than any step
    browser.key("ArrowLeft", False)
    browser.wait_for(f"roam.index >= {index + 1} && roam.action === 'turn left'")

    browser.value("words.value = 'jmp'; document.getElementById('bar').requestSubmit()")
    browser.wait_for("roam.note.includes(\"unknown verb 'jmp'\")")
    browser.value("words.value = 'look up'; document.getElementById('bar').requestSubmit()")
    browser.wait_for("roam.action === 'look up' && roam.note.startsWith('done: look up (frame ')")
    assert browser.value("roam.latencies.length >= 3 && Math.min(...roam.latencies) > 0")

    browser.value("document.getElementById('walk').style.display = 'block'")
    box = browser.value(
        "(r => [r.left + r.width * .9, r.top + r.height / 2])(document.getElementById('walk').getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.command("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
    browser.wait_for("roam.action === 'strafe right'")


def test_the_page_takes_its_walk_up_again_when_it_is_loaded_anew(browser):
    browser.wait_for("roam.index >= 0 && roam.session")
    browser.value("words.value = 'move forward'; document.getElementById('bar').requestSubmit()")
    browser.wait_for("roam.index === 1")
    session = browser.value("roam.session")
    browser.value("window.isOld = true")
    browser.command("Page.reload")
    browser.wait_for("!window.isOld && typeof roam !== 'undefined' && roam.index === 1")
    assert browser.value("roam.session") == session


def say_words(browser, text: str) -> None:
    """Type a sentence as a person does: Enter, the letters, Enter."""
    for kind in ("rawKeyDown", "keyUp"):
        browser.command("Input.dispatchKeyEvent", type=kind, code="Enter", key="Enter", windowsVirtualKeyCode=13)
    browser.wait_for("document.activeElement === words")
    browser.command("Input.insertText", text=text)
    for kind in ("keyDown", "keyUp"):
        browser.command(
            "Input.dispatchKeyEvent", type=kind, code="Enter", key="Enter", windowsVirtualKeyCode=13, text="\r"
        )


def click(browser, name: str) -> None:
    """Click at the place of that element, whatever lies over it."""
    where = f"(r => [r.left + r.width / 2, r.top + r.height / 2])({name}_.getBoundingClientRect())"
    x, y = browser.value(f"{name}_ = document.getElementById('{name}'), {where}")
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        browser.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def test_the_page_walks_by_what_a_person_types(browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    say_words(browser, "turn left")
    browser.wait_for("roam.action === 'turn left' && roam.note.startsWith('done: turn left')")
    say_words(browser, "jmp left")
    browser.wait_for("roam.note.includes('jmp')")
    assert browser.value("roam.index") == 1
    say_words(browser, "turn left, then move forward")
    browser.wait_for("roam.note.startsWith('done: turn left, then move forward (frame ')")
    browser.wait_for("roam.index === 3 && roam.action === 'move forward'")


def test_a_page_whose_walk_is_taken_offers_it_back(server, client, browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    RemoteSession.resume(client, browser.value("token")).step(parse_action("move forward"))
    browser.wait_for("!isDriving && !document.getElementById('retake').hidden")
    click(browser, "retake")
    browser.wait_for("isDriving && roam.index === 1 && document.getElementById('retake').hidden")
    say_words(browser, "look up")
    browser.wait_for("roam.index === 2")


def test_a_page_notices_within_ten_seconds_that_its_line_is_deaf(browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    browser.value("window.deaf = socket; socket.onmessage = () => {}; socket.onclose = null")
    began = time.monotonic()
    browser.wait_for("socket !== window.deaf && isDriving")
    assert time.monotonic() - began < 10
    say_words(browser, "move forward")
    browser.wait_for("roam.index === 1")


def test_the_page_walks_where_a_site_may_keep_nothing(browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    forbid = "for (const name of ['sessionStorage', 'localStorage'])"
    forbid += " Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } });"
    browser.command("Page.enable")
    browser.command("Page.addScriptToEvaluateOnNewDocument", source=forbid)
    browser.value("window.isOld = true")
    browser.command("Page.reload")
    browser.wait_for("!window.isOld && typeof roam !== 'undefined' && roam.index >= 0 && isDriving")
    click(browser, "save")
    browser.wait_for("roam.note.startsWith('saved')")


def num_walks(server) -> int:
    """How many walks the server has, in memory and parked."""
    return sum(map(int, re.findall(r"^roam_(?:sessions|parked) (\d+)$", server.metrics_text(), re.MULTILINE)))


def test_the_page_leaves_no_walk_lying(server, browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    for _ in range(3):
        before = browser.value("roam.session")
        click(browser, "fresh")
        browser.wait_for(f"isDriving && roam.session !== '{before}'")
    end = time.monotonic() + 30
    while num_walks(server) > 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert num_walks(server) == 1


def test_the_page_saves_loads_forks_and_can_be_watched(server, client, gateway, browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    say_words(browser, "move forward")
    browser.wait_for("roam.index === 1")
    digest = browser.value("roam.digest")
    click(browser, "save")
    browser.wait_for("roam.note.startsWith('saved')")
    click(browser, "fork")
    browser.wait_for("!document.getElementById('other').hidden")
    token = browser.value("document.getElementById('other').href").split("#")[1]
    assert RemoteSession.resume(client, token).frame.digest == digest
    say_words(browser, "turn left")
    browser.wait_for("roam.index === 2")
    click(browser, "load")
    browser.wait_for(f"isDriving && roam.index === 1 && roam.digest === '{digest}'")
    assert browser.value("document.getElementById('other').hidden && !document.querySelector('#other').offsetWidth")

    walk = RemoteSession.open(client, seed=5)
    browser.command("Page.navigate", url=f"{gateway.url}?watch={walk.id}")
    browser.wait_for("typeof roam !== 'undefined' && roam.note === 'you watch this walk' && roam.index === 0")
    walk.step(parse_action("move forward"))
    browser.wait_for(f"roam.digest === '{walk.frame.digest}'")
    assert browser.value("isDriving") is False


def tap(browser, code: str, number: int = 0) -> None:
    for kind in ("rawKeyDown", "keyUp"):
        browser.command("Input.dispatchKeyEvent", type=kind, code=code, key=code, windowsVirtualKeyCode=number)


def test_the_page_goes_back_by_key_and_by_button(browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    first = browser.value("roam.digest")
    for number in range(1, 8):
        say_words(browser, "turn left")
        browser.wait_for(f"roam.index === {number}")
    tap(browser, "Backspace", 8)
    browser.wait_for("roam.index === 2")
    click(browser, "back")
    browser.wait_for(f"roam.index === 0 && roam.digest === '{first}'")


def test_the_mouse_looks_about_once_it_was_clicked_into_the_page(server, browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    click(browser, "view")
    browser.wait_for("document.pointerLockElement === canvas")
    for x in (300, 340, 380):
        browser.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=300)
    browser.wait_for("roam.index >= 1 && roam.action.includes('turn right')")
    said = browser.value("roam.action")
    assert 0 < float(said.split()[2]) <= 45, said
    browser.value("document.exitPointerLock()")
    browser.wait_for("!document.pointerLockElement && !mouse.seq")
    index = server.metrics.steps  # a receipt comes before its frame
    browser.wait_for(f"roam.index === {index}")
    browser.command("Input.dispatchMouseEvent", type="mouseMoved", x=100, y=300)
    say_words(browser, "look up")
    browser.wait_for(f"roam.index === {index + 1} && roam.action === 'look up'")


def test_a_gamepad_walks_and_turns_until_its_sticks_are_let_go(browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    browser.value("navigator.getGamepads = () => [null, { axes: window.axes }]; window.axes = [0, -.9, .1, 0]")
    browser.wait_for("roam.index >= 2 && roam.action === 'move forward'")
    browser.value("window.axes = [0, 0, .8, 0]")
    browser.wait_for("roam.action === 'turn right'")
    browser.value("window.axes = [0, .1, .1, 0]")
    browser.wait_for("!held.size && !heldSeq && heldText === ''")


@pytest.mark.parametrize("how", ["blur", "meta"])
def test_keys_that_are_lost_are_let_go(browser, how):
    browser.wait_for("roam.index >= 0 && isDriving")
    browser.key("KeyW", True)
    browser.wait_for("roam.index >= 1")
    if how == "blur":
        browser.value("dispatchEvent(new Event('blur'))")
    else:  # a Mac's Command: no keyUp of W comes
        browser.command("Input.dispatchKeyEvent", type="keyUp", code="MetaLeft", key="Meta")
    browser.wait_for("!held.size && !heldSeq && heldText === ''")


@pytest.fixture
def two_worlds(worlds):
    worlds.worlds = ("meadow", "sea")


def test_a_world_is_chosen_with_the_keys(two_worlds, worlds, browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    assert worlds.opened[-1].world == "meadow"
    before = browser.value("roam.session")
    browser.value("document.getElementById('world').focus()")
    tap(browser, "ArrowDown", 40)
    assert browser.value("roam.index") == 0  # and nothing turned
    browser.wait_for("document.getElementById('world').value === 'tiny|sea'")
    click(browser, "fresh")
    browser.wait_for(f"isDriving && roam.session !== '{before}'")
    assert worlds.opened[-1].world == "sea" and worlds.opened[-1].seed > 0


def test_keys_that_a_server_refuses_are_not_dead_for_good(browser):
    browser.wait_for("roam.index >= 0 && isDriving")
    refused = "{ type: 'error', code: 'limit', message: 'too much at once', seq: heldSeq, session: roam.session }"
    browser.value(f"heldSeq = 7; hear({refused})")
    assert browser.value("roam.note") == "too much at once"
    browser.key("KeyW", True)
    browser.wait_for("roam.index >= 1")
    browser.key("KeyW", False)


def test_a_page_shows_a_servers_goodbye_and_walks_on_when_it_is_back(worlds, chromium, tmp_path):
    with Server(worlds, folder=tmp_path / "walks") as server, Gateway(server.address) as gateway:
        browser = chromium.page(gateway.url)
        browser.wait_for("roam.index >= 0 && isDriving")
        say_words(browser, "move forward")
        browser.wait_for("roam.index === 1")
        server.stop()
        browser.wait_for("roam.note.startsWith('the server closes; your walk is kept')")
        with Server(worlds, server.address, folder=tmp_path / "walks"):
            browser.wait_for("isDriving && !roam.note.startsWith('the server')")
            say_words(browser, "turn left")
            browser.wait_for("roam.index === 2")
        browser.close()


def test_the_page_has_landmarks_a_heading_and_zooms(browser):
    browser.wait_for("roam.index >= 0")
    assert browser.value("['h1', 'header', 'main', 'footer'].every(tag => document.querySelectorAll(tag).length === 1)")
    assert browser.value("!/user-scalable=no|max/.test(document.querySelector('meta[name=viewport]').content)")
    unnamed = "[...document.querySelectorAll('input, select, button')].filter(e => !(e.labels?.length || e.ariaLabel"
    assert browser.value(unnamed + " || e.textContent.trim())).length") == 0
    assert browser.value("document.getElementById('world').options.length") == 1
