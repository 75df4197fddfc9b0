"""Begins walks: finds a worker with room, has the others wait in a queue, refuses what is more than a key may have."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..server.registry import Client, secret_of
from ..wire import protocol as p
from .books import Books
from .placing import Waiter, WorkerState, full, has_room, place


@dataclass(frozen=True)
class Ticket:
    """A client that waits for a place, and what it asked for."""

    client: bytes
    message: p.Open | p.Load
    payload: bytes


class Admission:
    """Handles `open` and `load`; `turn` lets in whoever waits."""

    def __init__(self, books: Books):
        self._books = books
        self._opening: dict[tuple[bytes, int], str] = {}  # asked of a worker: by client and seq, which
        self._tokens: dict[bytes, list[str]] = {}  # of the walks that a client has held, the newest last
        self._saved: dict[tuple[bytes, str], str] = {}  # the token of the walk, by client and the save's name

    def begin(self, client: Client, message: p.Open | p.Load, payload: bytes) -> None:
        """Begin a walk, or have it wait. Raises ProtocolError where the key has enough, or the queue is full."""
        books = self._books
        mine = books.routes.driven_by(client.guest) + sum(who == client.id for who, _ in self._opening)
        if mine >= books.rules.most_each:
            raise p.ProtocolError("limit", f"{mine} walks are driven with your key; close some, or let some go")
        if isinstance(message, p.Load):
            message = self._with_token(client, message)
        books.recount()
        if not len(books.queue):
            worker = place(books.workers.values(), books.rules)
            if worker is not None:
                self._ask(worker, client.id, message, payload)
                return
        try:
            books.queue.join(Waiter(client.guest, Ticket(client.id, message, payload)), books.num_places)
        except p.ProtocolError:
            books.counts.refused_full += 1
            raise
        self.turn()

    def turn(self) -> None:
        """Let in whoever there is room for, tell the others their places, and refuse those who have waited too long."""
        books = self._books
        if not len(books.queue):
            return
        books.recount()
        for waiter in books.queue.order(books.routes.driven_by):
            ticket = _ticket(waiter)
            worker = place(books.workers.values(), books.rules)
            if ticket.client not in books.wire.clients:
                books.queue.leave(waiter)
            elif worker is not None:
                books.queue.leave(waiter)
                self._ask(worker, ticket.client, ticket.message, ticket.payload)
        for waiter in books.queue.overdue():
            self._refuse(waiter)
        for number, waiter in enumerate(books.queue.order(books.routes.driven_by), start=1):
            if waiter.told != number:
                waiter.told, ticket = number, _ticket(waiter)
                wait_s = books.queue.wait_s(number, books.num_places)
                books.tell(ticket.client, p.Queued(seq=ticket.message.seq, place=number, wait_s=wait_s))

    def leave(self, client: bytes) -> None:
        """Forget a client that is gone."""
        for waiter in self._books.queue.order(self._books.routes.driven_by):
            if _ticket(waiter).client == client:
                self._books.queue.leave(waiter)
        for asked in [asked for asked in self._opening if asked[0] == client]:
            self.settled(*asked)
        self._tokens.pop(client, None)
        self._saved = {save: token for save, token in self._saved.items() if save[0] != client}

    def settled(self, client: bytes, seq: int) -> bool:
        """A worker has answered; whether it was to an `open` or a `load`."""
        name = self._opening.pop((client, seq), None)
        worker = self._books.workers.get(name or "")
        if worker:
            worker.opening = max(0, worker.opening - 1)
        return name is not None

    def lost(self, worker: str) -> None:
        """A worker has died with what was asked of it."""
        for key in [key for key, name in self._opening.items() if name == worker]:
            del self._opening[key]

    def holds(self, client: bytes, token: str) -> None:
        self._tokens.setdefault(client, []).append(token)
        del self._tokens[client][:-256]

    def saved(self, client: bytes, name: str, token: str) -> None:
        self._saved[client, name] = token

    def _ask(self, worker: WorkerState, client: bytes, message: p.Open | p.Load, payload: bytes) -> None:
        books, name = self._books, worker.about.name
        self._opening[client, message.seq] = name
        worker.opening += 1
        if not isinstance(message, p.Load):
            books.line(client, name).send(message, payload)
            return
        owner = self._owner(message.token)
        if owner is not None and owner in books.workers and has_room(books.workers[owner], books.rules):
            worker.opening -= 1
            self._opening[client, message.seq] = owner
            books.workers[owner].opening += 1
            books.line(client, owner).send(message)
            return

        def fetched(_value: object) -> None:
            if self._opening.get((client, message.seq)) == name and name in books.workers:
                books.line(client, name).send(message)

        books.asking.ask(lambda: books.fleet.ask(name, "fetch_saves", secret_of(message.token)[:32]), fetched)

    def _owner(self, token: str) -> str | None:
        """The worker that has the walk of that token, and so its newest saves."""
        try:
            return self._books.routes.with_token(token).worker
        except p.ProtocolError:
            return None

    def _with_token(self, client: Client, message: p.Load) -> p.Load:
        """A `load` that says whose save it means: of the walk that this client saved by that name, else of its last."""
        held = self._tokens.get(client.id, [])
        token = message.token or self._saved.get((client.id, message.name)) or (held[-1] if held else "")
        if not token:
            text = f"no save named '{message.name}' of a walk that you hold; give the token of the walk it was made in"
            raise p.ProtocolError("not_found", text)
        return replace(message, token=token)

    def _refuse(self, waiter: Waiter) -> None:
        books, ticket = self._books, _ticket(waiter)
        books.counts.refused_full += 1
        why = f"no place came free in {books.rules.longest_wait_s:.0f} s"
        error = full(why, books.queue.wait_s(len(books.queue) + 1, books.num_places))
        books.tell(ticket.client, p.Error(seq=ticket.message.seq, code=error.code, message=str(error)))


def _ticket(waiter: Waiter) -> Ticket:
    assert isinstance(waiter.ticket, Ticket), "nobody else waits here"
    return waiter.ticket
