"""Begins walks: finds a worker with room, puts the others into a queue, and refuses more than one key may have."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..server.registry import Client, secret_of
from ..wire import protocol as p
from .front_state import FrontState
from .placing import Waiter, WorkerState, full, has_room, place


@dataclass(frozen=True)
class Ticket:
    """A client that waits for a place, and its request."""

    client: bytes
    message: p.Open | p.Load
    payload: bytes


class Admission:
    """Handles `open` and `load`; `turn` admits those who wait."""

    def __init__(self, state: FrontState):
        self._state = state
        self._opening: dict[tuple[bytes, int], str] = {}  # requests at a worker: by client and seq, the worker
        self._tokens: dict[bytes, list[str]] = {}  # tokens of the walks that a client has held, the newest last
        self._saved: dict[tuple[bytes, str], str] = {}  # by client and the save's name: the token of the walk

    def begin(self, client: Client, message: p.Open | p.Load, payload: bytes) -> None:
        """Begin a walk, or queue the request. Raises ProtocolError if the key has enough walks, or the queue is
        full."""
        state = self._state
        self.check_quota(client)
        if isinstance(message, p.Load):
            message = self._with_token(client, message)
        state.recount()
        if not len(state.queue):
            worker = place(state.workers.values(), state.rules)
            if worker is not None:
                self._ask(worker, client.id, message, payload)
                return
        try:
            state.queue.join(Waiter(client.guest, Ticket(client.id, message, payload)), state.num_places)
        except p.ProtocolError:
            state.counts.refused_full += 1
            raise
        self.turn()

    def check_quota(self, client: Client) -> None:
        """Raises ProtocolError if the client's key drives as many walks as it may."""
        mine = self._state.routes.driven_by(client.guest) + sum(who == client.id for who, _ in self._opening)
        if mine >= self._state.rules.most_each:
            raise p.ProtocolError("limit", f"{mine} walks are driven with your key; close some, or let some go")

    def turn(self) -> None:
        """Admit everyone for whom there is room, tell the others their places, and refuse those who have waited too
        long."""
        state = self._state
        if not len(state.queue):
            return
        state.recount()
        for waiter in state.queue.order(state.routes.driven_by):
            ticket = _ticket(waiter)
            worker = place(state.workers.values(), state.rules)
            if ticket.client not in state.wire.clients:
                state.queue.leave(waiter)
            elif worker is not None:
                state.queue.leave(waiter)
                self._ask(worker, ticket.client, ticket.message, ticket.payload)
        for waiter in state.queue.overdue():
            self._refuse(waiter)
        for number, waiter in enumerate(state.queue.order(state.routes.driven_by), start=1):
            if waiter.told != number:
                waiter.told, ticket = number, _ticket(waiter)
                wait_s = state.queue.wait_s(number, state.num_places)
                state.tell(ticket.client, p.Queued(seq=ticket.message.seq, place=number, wait_s=wait_s))

    def leave(self, client: bytes) -> None:
        """Forget a client that is gone."""
        for waiter in self._state.queue.order(self._state.routes.driven_by):
            if _ticket(waiter).client == client:
                self._state.queue.leave(waiter)
        for asked in [asked for asked in self._opening if asked[0] == client]:
            self.settled(*asked)
        self._tokens.pop(client, None)
        self._saved = {save: token for save, token in self._saved.items() if save[0] != client}

    def settled(self, client: bytes, seq: int) -> bool:
        """A worker has answered a request. Returns whether it was an `open` or a `load`."""
        name = self._opening.pop((client, seq), None)
        worker = self._state.workers.get(name or "")
        if worker:
            worker.opening = max(0, worker.opening - 1)
        return name is not None

    def lost(self, worker: str) -> None:
        """A worker has died; forget the requests that it had."""
        for key in [key for key, name in self._opening.items() if name == worker]:
            del self._opening[key]

    def has_asked(self, client: bytes, seq: int) -> bool:
        """Whether an `open` or a `load` of that number waits, in the queue or at a worker."""
        tickets = map(_ticket, self._state.queue)
        is_queued = any(ticket.client == client and ticket.message.seq == seq for ticket in tickets)
        return is_queued or (client, seq) in self._opening

    def holds(self, client: bytes, token: str) -> None:
        self._tokens.setdefault(client, []).append(token)
        del self._tokens[client][:-256]

    def saved(self, client: bytes, name: str, token: str) -> None:
        self._saved[client, name] = token

    def _ask(self, worker: WorkerState, client: bytes, message: p.Open | p.Load, payload: bytes) -> None:
        state, name = self._state, worker.about.name
        self._opening[client, message.seq] = name
        worker.opening += 1
        if not isinstance(message, p.Load):
            state.connection(client, name).send(message, payload)
            return
        owner = self._owner(message.token)
        if owner is not None and owner in state.workers and has_room(state.workers[owner], state.rules):
            worker.opening -= 1
            self._opening[client, message.seq] = owner
            state.workers[owner].opening += 1
            state.connection(client, owner).send(message)
            return

        def fetched(_value: object) -> None:
            if self._opening.get((client, message.seq)) == name and name in state.workers:
                state.connection(client, name).send(message)

        state.background.call(lambda: state.fleet.ask(name, "fetch_saves", secret_of(message.token)[:32]), fetched)

    def _owner(self, token: str) -> str | None:
        """The worker that has the walk of that token, and therefore its newest saves."""
        try:
            return self._state.routes.with_token(token).worker
        except p.ProtocolError:
            return None

    def _with_token(self, client: Client, message: p.Load) -> p.Load:
        """A `load` with its token filled in: of the walk that this client saved by that name, else of its last walk."""
        held = self._tokens.get(client.id, [])
        token = message.token or self._saved.get((client.id, message.name)) or (held[-1] if held else "")
        if not token:
            text = f"no save named '{message.name}' of a walk that you hold; give the token of the walk it was made in"
            raise p.ProtocolError("not_found", text)
        return replace(message, token=token)

    def _refuse(self, waiter: Waiter) -> None:
        state, ticket = self._state, _ticket(waiter)
        state.counts.refused_full += 1
        why = f"no place came free in {state.rules.longest_wait_s:.0f} s"
        error = full(why, state.queue.wait_s(len(state.queue) + 1, state.num_places))
        state.tell(ticket.client, p.Error(seq=ticket.message.seq, code=error.code, message=str(error)))


def _ticket(waiter: Waiter) -> Ticket:
    assert isinstance(waiter.ticket, Ticket), "nobody else waits here"
    return waiter.ticket
