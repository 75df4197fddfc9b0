"""What a front knows of each walk: which worker has it, who sees it, and what must be repeated if that worker dies.

Sends nothing and decides nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from ..server.registry import secret_of
from ..wire import protocol as p

KEPT_S = 15.0  # how long an act with a receipt is remembered: longer than any snapshot may be behind
KEPT_ACTS = 1024
FIRST_INTERNAL_SEQ = 2**62  # seqs of the front's own requests start here; a client's start at 1
VIEW = ("encoding", "quality", "depth", "tokens")


@dataclass
class Seat:
    """A client that sees a walk. view: how its frames are to look; credits: frames that may still be sent."""

    view: dict
    credits: int
    is_driver: bool

    @staticmethod
    def of(message: p.Viewing, *, is_driver: bool) -> Seat:
        return Seat({name: getattr(message, name) for name in VIEW}, message.credits, is_driver)


@dataclass
class Typed:
    """A typed act, or a dream, and when its receipt came; 0 before that. is_done: the receipt said applied."""

    act: p.Act | p.Dream
    receipted_at: float = 0.0
    is_done: bool = False


@dataclass
class Route:
    """A walk of the cluster."""

    session: str
    secret: str
    worker: str  # the worker that has it; "" if it is only in the shared place
    guest: str = ""
    token: str = ""
    driver: bytes | None = None
    seats: dict[bytes, Seat] = field(default_factory=dict)
    index: int = 0
    held: p.Act | None = None
    is_held_receipted: bool = False
    typed: OrderedDict[int, Typed] = field(default_factory=OrderedDict)
    silent: set[int] = field(default_factory=set)  # seqs whose receipts have been passed on already
    waiting: list[tuple[bytes, p.Message]] = field(default_factory=list)  # messages about it that came while it moved
    is_moving: bool = False  # another worker is taking it
    moved: bool = False  # whether the last move was planned: a worker was drained
    is_closing: bool = False  # its worker has been asked to close it
    home: str = ""  # the only worker that may take it: it has newer files than the shared place
    forgotten: int = 0  # the highest seq of an act that was done, and is not remembered any more
    began: float = field(default_factory=time.monotonic)

    def note(self, act: p.Act | p.Dream) -> None:
        """The driver has sent an act."""
        if isinstance(act, p.Act) and act.mode == "hold":
            self.held, self.is_held_receipted = (act if act.text or act.motion else None), False
            return
        self.typed[act.seq] = Typed(act)
        self._forget()

    def receipted(self, seq: int, *, is_done: bool = True) -> bool:
        """A receipt has come. Returns whether the client does not have it yet. is_done: whether it says applied."""
        if seq in self.silent:
            self.silent.discard(seq)
            return False
        if self.held and self.held.seq == seq:
            self.is_held_receipted = True
        if seq in self.typed:
            self.typed[seq].receipted_at, self.typed[seq].is_done = time.monotonic(), is_done
        return True

    def again(self, last: int) -> list[p.Act | p.Dream]:
        """The acts to repeat on the worker that takes the walk, whose typed acts are done up to `last`: first typed
        words, then what is held. An act that is done, but whose receipt was lost with the old worker, is among them
        too, so that its receipt is sent. If the copy lacks acts that are forgotten here, none that had a receipt is
        repeated: they belong after those."""
        is_gap = self.lacks(last)
        typed = [t for seq, t in self.typed.items() if not t.receipted_at or (seq > last and not is_gap)]
        self.silent = {t.act.seq for t in typed if t.receipted_at}
        acts: list[p.Act | p.Dream] = [t.act for t in typed]
        if self.held:
            self.silent |= {self.held.seq} if self.is_held_receipted else set()
            acts.append(self.held)
        return acts

    def lacks(self, last: int) -> bool:
        """Whether acts that were done can neither be in a copy, whose typed acts are done up to `last`, nor be
        repeated."""
        return last < self.forgotten

    def leave(self, client: bytes) -> None:
        self.seats.pop(client, None)
        self.waiting = [(who, message) for who, message in self.waiting if who != client]
        if self.driver == client:
            self.driver, self.held = None, None

    def taken_over(self) -> None:
        """Somebody resumes the walk: acts without a receipt are for that client to send again."""
        self.held, self.silent, self.forgotten = None, set(), 0
        self.typed = OrderedDict((seq, typed) for seq, typed in self.typed.items() if typed.receipted_at)

    def _forget(self) -> None:
        old = time.monotonic() - KEPT_S
        while self.typed:
            first = next(iter(self.typed.values()))
            if len(self.typed) <= KEPT_ACTS and not 0 < first.receipted_at < old:
                return
            seq, typed = self.typed.popitem(last=False)
            self.forgotten = max(self.forgotten, seq) if typed.is_done else self.forgotten


class Routes:
    """Every walk of the cluster, by its public id and by the hash of its token."""

    def __init__(self) -> None:
        self.by_session: dict[str, Route] = {}
        self._by_secret: dict[str, Route] = {}

    def add(self, route: Route) -> Route:
        self.by_session[route.session] = self._by_secret[route.secret] = route
        return route

    def remove(self, route: Route) -> None:
        self.by_session.pop(route.session, None)
        self._by_secret.pop(route.secret, None)

    def known(self, session: str) -> Route:
        if session not in self.by_session:
            raise p.ProtocolError("unknown_session", f"no walk '{session}' here")
        return self.by_session[session]

    def with_token(self, token: str) -> Route:
        route = self._by_secret.get(secret_of(token))
        if route is None:
            raise p.ProtocolError("unknown_session", "no walk has that token; it was closed, or is kept elsewhere")
        return route

    def of(self, worker: str) -> list[Route]:
        return [route for route in self.by_session.values() if route.worker == worker]

    def num_driven(self, worker: str) -> int:
        return sum(route.driver is not None for route in self.of(worker))

    def driven_by(self, guest: str) -> int:
        """How many walks a key, or an address, drives."""
        return sum(route.driver is not None and route.guest == guest for route in self.by_session.values())
