"""A blocking client of protocol 3: open walks, act, take frames. If a server goes away and returns, the client resumes
its walks by itself.

Any number of threads may use one Client; only the connection's thread uses its socket (connection.py). A frame's credit
is granted again when the program takes the frame. So a program that stops taking frames stops the walk, and no frame is
ever stale.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ...world.action import Action, ActionError
from ...world.frame import Frame
from ...world.pose import Motion
from ..files.pictures import to_send
from ..wire import protocol as p
from ..wire.encoding import Look
from ..wire.security import KeyPair, unlock
from .connection import Connection
from .looks import Looks
from .records import Records
from .walk_state import Received, ServerError, WalkState, act_of, wanted_view

HUNG_UP = "this client has hung up"
MOST_WARNINGS = 20  # warnings that wait to be taken; older ones are dropped


class ConnectionLostError(ConnectionError):
    """The connection was lost during a request; the request may or may not have been done."""


M = TypeVar("M", bound=p.Message)


class Client(Looks, Records):
    """A connection to a server at `address`. server_key and keys (wire/security.py): needed if the server asks for
    keys."""

    def __init__(
        self,
        address: str,
        *,
        name: str = "roam",
        server_key: str = "",
        keys: KeyPair | None = None,
        timeout_s: float = 30.0,
        patience_s: float = 3.0,
    ):
        self.timeout_s = timeout_s
        self.welcome: p.Welcome | None = None
        self.place = 0  # place in the queue of a full cluster while an `open` waits; else 0
        self.farewell = ""  # the reason in the server's goodbye, until the server is back
        self._warnings: deque[ServerError] = deque(maxlen=MOST_WARNINGS)
        self._refusal: p.Error | None = None
        self._last_seq = 0
        self._is_up = self._is_closed = False
        self._changed = threading.Condition()
        self._walks: dict[str, WalkState] = {}
        self._saved: dict[str, str] = {}  # by the save's name: the token of the walk that was saved
        self._answers: dict[int, p.Message | Exception | None] = {}
        self._resuming: dict[int, WalkState] = {}
        self._payloads: dict[int, bytes | memoryview] = {}  # payloads of looks, by the look's seq
        opener = (lambda s: unlock(s, server_key=server_key, pair=keys)) if keys else None
        self._connection = Connection(
            address,
            name=name,
            patience_s=patience_s,
            unlock=opener,
            on_up=self._up,
            on_down=self._down,
            on_message=self._hear,
            on_refused=self._refused,
        )
        self._connection.start()
        try:
            self._wait(
                lambda: self.welcome or self._refusal,
                timeout_s,
                f"no answer from {address}; does a server run there, and does it let this key in?",
            )
            if self._refusal:
                raise ServerError(self._refusal.code, self._refusal.message)
        except Exception:
            self.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, and wake all threads that wait. The walks stay on the server and can be resumed with their
        tokens."""
        self._connection.close()
        with self._changed:
            self._is_up, self._is_closed = False, True
            for seq, answer in self._answers.items():
                self._answers[seq] = answer or ServerError("closed", HUNG_UP)
            for walk in self._walks.values():
                walk.failure = walk.failure or ServerError("closed", HUNG_UP)
            self._changed.notify_all()

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up and every walk on it has been resumed, or could not be."""
        with self._changed:
            return self._is_up and all(walk.is_seated or walk.failure for walk in self._walks.values())

    def take_warnings(self) -> list[ServerError]:
        """What the server has said, since the last call, about walks that go on but are not kept, because its disk
        is full (code storage)."""
        with self._changed:
            warnings = list(self._warnings)
            self._warnings.clear()
        return warnings

    # Methods that begin a walk. Each returns the session's id.

    def open(
        self,
        *,
        model: str = "",
        world: str = "",
        seed: int = 0,
        text: str = "",
        image: bytes = b"",
        size: tuple[int, int] = (0, 0),
        look: Look | None = None,
        ahead: int = 1,
    ) -> str:
        """Begin a walk. image: a picture file's bytes, made smaller here if servers do not accept its size; size:
        width, height; ahead: frames that may be in transit. Raises PictureError, or the server's refusal."""
        image = to_send(image) if image else b""
        wanted = p.Open(
            seq=self._next_seq(),
            model=model,
            world=world,
            seed=seed,
            text=text,
            width=size[0],
            height=size[1],
            **wanted_view(look, ahead),
        )
        return self._begin(wanted, image)

    def load(self, name: str, *, token: str = "", look: Look | None = None, ahead: int = 1) -> str:
        """Begin a walk from the save of that name. token: of the walk that was saved, if this client did not save
        it."""
        token = token or self._saved.get(name, "")
        return self._begin(p.Load(seq=self._next_seq(), name=name, token=token, **wanted_view(look, ahead)))

    def resume(self, token: str, *, look: Look | None = None, ahead: int = 1) -> str:
        """Resume a walk that another connection began."""
        return self._begin(p.Resume(seq=self._next_seq(), token=token, **wanted_view(look, ahead)))

    def watch(self, session: str, *, look: Look | None = None, ahead: int = 1) -> str:
        """Watch a walk that somebody else drives."""
        return self._begin(p.Watch(seq=self._next_seq(), session=session, **wanted_view(look, ahead)))

    def fork(self, session: str) -> str:
        """Begin a second walk at the same point, with the same kind of frames."""
        return self._begin(p.Fork(seq=self._next_seq(), session=session, **self._walk(session).looks))

    def token(self, session: str) -> str:
        """The secret with which another client may resume this walk."""
        return self._walk(session).token

    # Walking.

    def hold(self, session: str, text: str, motion: Motion | None = None) -> int:
        """Set what the held keys mean from now on, "" for nothing; returns the act's number."""
        act = act_of(self._next_seq(), session, Action(text, motion), mode="hold")
        with self._changed:
            walk = self._walk(session)
            walk.held = act if text or motion else None
            self._tell(walk, act)
        return act.seq

    def act(self, session: str, action: Action | str) -> int:
        """Queue one action, to be done once; returns its number, for `receipt`."""
        action = Action(action) if isinstance(action, str) else action
        if action.at is not None:
            self._check_version(p.Dream.SINCE, "dreams nothing from elsewhere")
        act = act_of(self._next_seq(), session, action)
        with self._changed:
            walk = self._walk(session)
            walk.typed[act.seq] = act
            self._tell(walk, act)
        return act.seq

    def receipt(self, session: str, seq: int, *, timeout_s: float | None = None) -> p.Receipt:
        """Wait for the result of an act. Raises ActionError if it was refused."""
        walk = self._walk(session)
        self._wait(lambda: walk.failure or seq in walk.receipts, timeout_s, f"no receipt for act {seq}")
        if walk.failure:
            raise walk.failure
        with self._changed:
            receipt = walk.receipts.pop(seq)
        if receipt.status == "refused":
            raise ActionError(receipt.reason)
        return receipt

    def step(self, session: str, action: Action, *, timeout_s: float | None = None) -> Received:
        """Act once, and wait for its frame, or for a later one if keys are held as well."""
        walk = self._walk(session)
        with self._changed:
            walk.is_eager = True
            self._take(walk)
        try:
            receipt = self.receipt(session, self.act(session, action), timeout_s=timeout_s)
            self._wait(lambda: walk.failure or walk.index >= receipt.frame, timeout_s, "no frame")
        finally:
            walk.is_eager = False
        if walk.failure:
            raise walk.failure
        return self._received(walk)

    def latest_frame(self, session: str) -> Frame | None:
        """The newest frame, whether or not it was taken before; None before the first. Does not wait."""
        received = self.latest(session)
        return received.frame if received else None

    def latest(self, session: str) -> Received | None:
        """`latest_frame` with its header and latency."""
        walk = self._walk(session)
        with self._changed:
            self._take(walk)
            return walk.taken.received if walk.taken else None

    def next_frame(self, session: str, *, at: int | None = None, timeout_s: float | None = None) -> Received:
        """Wait for a frame that was not taken yet (or for the one with index `at`), and take it."""
        walk = self._walk(session)
        self._wait(lambda: walk.failure or walk.has(at), timeout_s, "no frame")
        if walk.failure:
            raise walk.failure
        with self._changed:
            self._take(walk)
            return self._received(walk)

    def rewind(self, session: str, frames: int) -> Frame:
        """Undo that many steps; returns the current frame after that."""
        walk = self._walk(session)
        with self._changed:
            walk.taken = None
            self._take(walk)
        done = self._request(p.Rewind(seq=self._next_seq(), session=session, frames=frames), p.Done)
        return self.next_frame(session, at=done.index).frame

    def save(self, session: str, name: str) -> int:
        """Save the walk on the server under that name; returns the index of the current frame."""
        index = self._request(p.Save(seq=self._next_seq(), session=session, name=name), p.Done).index
        self._saved[name] = self.token(session)
        return index

    def end(self, session: str) -> None:
        """Close the walk and forget it, or stop watching it."""
        with self._changed:
            self._walks.pop(session, None)
        self._request(p.Close(seq=self._next_seq(), session=session), p.Done)

    def resumptions(self, session: str) -> list[p.Resumed]:
        """How many times a cluster has moved this walk to another worker."""
        with self._changed:
            return list(self._walk(session).resumed)

    def stats(self) -> p.Statistics:
        return self._request(p.Stats(seq=self._next_seq()), p.Statistics)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the server offers, from its welcome."""
        assert self.welcome is not None, "a client stands once it was welcomed"
        return self.welcome.models

    # Helpers of the methods above.

    def _next_seq(self) -> int:
        with self._changed:
            self._last_seq += 1
            return self._last_seq

    def _walk(self, session: str) -> WalkState:
        if session not in self._walks:
            raise ServerError("unknown_session", f"this client has no walk '{session}'")
        return self._walks[session]

    @staticmethod
    def _received(walk: WalkState) -> Received:
        assert walk.taken is not None, "a frame was waited for, and taken"
        return walk.taken.received

    def _begin(self, view: p.Viewing, payload: bytes = b"") -> str:
        return self._request(view, p.Opened, payload).session

    def _tell(self, walk: WalkState, message: p.Message) -> None:
        if walk.is_seated:
            self._connection.send(message)

    def _request(self, message: p.Request, wanted: type[M], payload: bytes = b"") -> M:
        """Send a request and wait for its answer, of the type `wanted`. Raises the server's refusal, or
        ConnectionLostError if the connection broke meanwhile. A request that only reads is repeated instead, once
        the connection is back."""
        while True:
            try:
                return self._asked(message, wanted, payload)
            except ConnectionLostError:
                if not isinstance(message, p.Look | p.Surfaces | p.Stats):
                    raise
                self._wait(lambda: self.is_connected or self._is_closed, None, "the connection did not come back")

    def _asked(self, message: p.Request, wanted: type[M], payload: bytes) -> M:
        if isinstance(message, p.Rewind | p.Save | p.Fork):
            walk = self._walk(message.session)
            self._wait(lambda: walk.is_seated or walk.failure, None, "the connection did not come back")
        with self._changed:
            if self._is_closed:
                raise ServerError("closed", HUNG_UP)
            self._answers[message.seq] = None
            if isinstance(message, p.Viewing):
                self._resuming[message.seq] = WalkState("", "", message)
            self._connection.send(message, payload)
        try:
            self._wait(lambda: self._answers[message.seq], None, f"no answer to '{message.TYPE}'")
            answer = self._answers[message.seq]
        finally:
            with self._changed:
                self._answers.pop(message.seq)
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, wanted):
            raise ServerError("protocol", f"'{answer and answer.TYPE}' answers '{message.TYPE}'; wanted {wanted.TYPE}")
        return answer

    def _wait(self, is_so: Callable, timeout_s: float | None, complaint: str) -> None:
        seconds = self.timeout_s if timeout_s is None else timeout_s
        with self._changed:
            if not self._changed.wait_for(is_so, seconds):
                raise TimeoutError(f"{complaint} within {seconds:g} s")

    def _take(self, walk: WalkState) -> None:
        if owed := walk.take():
            self._tell(walk, p.Credit(session=walk.id, frames=owed))

    # Called on the connection's thread.

    def _up(self, welcome: p.Welcome) -> None:
        with self._changed:
            self.welcome, self._is_up, self.farewell = welcome, True, ""
            walks = [walk for walk in self._walks.values() if not walk.failure]
            for walk in walks:
                self._take_up(walk)
            self._changed.notify_all()

    def _take_up(self, walk: WalkState) -> None:
        self._last_seq += 1
        self._resuming[self._last_seq] = walk
        again = p.Resume(seq=self._last_seq, token=walk.token, **walk.looks) if walk.token else None
        self._connection.send(again or p.Watch(seq=self._last_seq, session=walk.id, **walk.looks))

    def _down(self) -> None:
        with self._changed:
            self._is_up = False
            for seq, answer in self._answers.items():
                if answer is None:
                    self._answers[seq] = ConnectionLostError("the connection broke; ask again if it was not done")
            self._resuming.clear()
            self._connection.forget_queued()
            for walk in self._walks.values():
                walk.is_seated = False
            self._changed.notify_all()

    def _refused(self, error: p.Error) -> None:
        with self._changed:
            self._refusal = error
            self._changed.notify_all()

    def _hear(self, message: p.Message, payload) -> None:
        with self._changed:
            if isinstance(message, p.FrameHead):
                self._show(message, payload)
            elif isinstance(message, p.Receipt | p.Resumed):
                self._note(message)
            elif isinstance(message, p.Error):
                self._fail(message)
            elif isinstance(message, p.Opened):
                self._opened(message)
            elif isinstance(message, p.Goodbye):
                self.farewell = message.reason
            if isinstance(message, p.SightHead | p.PiecesHead) and message.seq in self._answers:
                self._payloads[message.seq] = payload
            if isinstance(message, p.Queued):
                self.place = message.place
            elif isinstance(message, p.Request) and message.seq in self._answers:
                self._answers[message.seq] = message
            self._changed.notify_all()

    def _show(self, head: p.FrameHead, payload) -> None:
        walk = self._walks.get(head.session)
        if walk:
            walk.show(head, payload)
            if walk.is_eager:
                self._take(walk)

    def _note(self, news: p.Receipt | p.Resumed) -> None:
        walk = self._walks.get(news.session)
        if walk:
            walk.note(news)

    def _fail(self, error: p.Error) -> None:
        walk = self._resuming.pop(error.seq, None)
        is_over = error.code in ("unknown_session", "not_yours") or (error.code == "internal" and not error.seq)
        lost = self._walks.get(error.session) if is_over else walk
        if lost and (lost is walk or lost.is_seated):
            lost.failure = ServerError(error.code, error.message)
        if error.code == "storage" and not error.seq:
            self._warnings.append(ServerError(error.code, error.message))
        if error.seq in self._answers:
            self._answers[error.seq] = ServerError(error.code, error.message)

    def _opened(self, opened: p.Opened) -> None:
        walk = self._resuming.pop(opened.seq, None)
        if walk is None:
            return
        self._walks[opened.session] = walk
        self.place = 0
        walk.seat(opened)
        self._last_seq = max(self._last_seq, opened.last)
        for act in walk.unfinished:
            self._connection.send(act)
