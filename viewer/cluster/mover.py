"""Moves walks to another worker: when their worker has died or is drained, when another has fewer walks, or when a
client wants a walk that is only in the shared place.

While a walk moves, its clients' messages wait (routes.py). Nothing is lost that had been stored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from ..server.refusals import session_of
from ..wire import protocol as p
from .connections import WorkerConnection
from .fleet import WorkerLostError
from .front_state import FrontState
from .placing import has_room, place
from .routes import FIRST_INTERNAL_SEQ, Route

log = logging.getLogger(__name__)

RETRY_S = 30.0  # before walks are moved for evenness from a worker whose walks could not be copied
UNEVEN = 2  # if one worker has this many walks more than another, one of them moves
# requests that may be repeated without harm
REPEATABLE = p.Look | p.Surfaces | p.Save | p.Fork | p.Open | p.Load | p.Resume | p.Watch | p.Close


class Mover:
    """Moves walks between workers. dispatch: handles a client's message as if it had just arrived; give_up: ends a
    worker that does not answer, after which `died` is called."""

    def __init__(
        self,
        state: FrontState,
        dispatch: Callable[[bytes, p.Message, bytes], None],
        give_up: Callable[[str], None],
    ):
        self._state, self._dispatch, self._give_up = state, dispatch, give_up
        self._seqs = count(FIRST_INTERNAL_SEQ)
        # by seq: the walk, the client, and the credits that were passed on
        self._resuming: dict[int, tuple[Route, bytes, int]] = {}
        self._stranded: list[Route] = []  # no worker was there to take them
        self._failed: dict[str, tuple[float, str]] = {}  # by worker: when, and why, it last failed to release a walk

    def died(self, name: str) -> None:
        """A worker is dead: its walks continue on other workers."""
        state = self._state
        if state.workers.pop(name, None) is None:
            return
        state.counts.deaths += 1
        log.warning("worker %s has died; %d walks were on it", name, len(state.routes.of(name)))
        lost = [
            (connection.client, *request)
            for connection in state.connections.of_worker(name)
            for request in connection.pending.values()
        ]
        for request, _ in (one[1:] for one in lost):
            self._resuming.pop(getattr(request, "seq", 0), None)  # they are asked again, of another worker
        for connection in state.connections.of_worker(name):
            state.connections.disconnect(connection)
        routes = state.routes.of(name)
        for route in routes:
            route.worker, route.moved, route.is_closing, route.home = "", False, False, ""
        self._take_up([route for route in routes if route.seats or route.is_moving])
        for client, message, payload in lost:
            self._ask_again(client, message, payload)

    def empty(self, name: str) -> None:
        """Move every walk away from a worker without loss."""
        routes = self._state.routes.of(name)
        self._move([route for route in routes if not (route.is_moving or route.is_closing)], name)

    def failure(self, name: str, *, since: float) -> str:
        """Why a walk could not be moved away from a worker since then; "" if all could, or as long as any moves."""
        at, why = self._failed.get(name, (since, ""))
        return why if at >= since and not any(route.is_moving for route in self._state.routes.of(name)) else ""

    def even_out(self) -> None:
        """Move one walk from the worker with most walks to the one with fewest, if that makes them more equal, for
        example after a worker has died and a new one has started. One at a time, because a walk stands still while
        it moves."""
        there = [worker for worker in self._state.workers.values() if not worker.is_draining]
        if len(there) < 2 or any(route.is_moving for route in self._state.routes.by_session.values()):
            return
        most, fewest = max(there, key=lambda worker: worker.busy), min(there, key=lambda worker: worker.busy)
        name, rules = most.about.name, self._state.rules
        if self.failure(name, since=time.monotonic() - RETRY_S):
            return
        there_now = self._state.routes.of(name)
        routes = [route for route in there_now if route.driver is not None and not route.is_closing]
        if most.busy - fewest.busy < UNEVEN or not routes or not has_room(fewest, rules):
            return
        self._move([min(routes, key=lambda route: route.held is not None)], name)

    def _move(self, routes: list[Route], name: str) -> None:
        """Have a worker release walks and others take them, each as soon as it is released."""
        for route in routes:
            route.is_moving, route.moved = True, True
            work = partial(self._state.fleet.ask, name, "release", [route.session])
            self._state.background.call(work, partial(self._released, name, route))

    def _released(self, name: str, route: Route, value: Any) -> None:
        if isinstance(value, Exception):
            log.error("session %s is not released by worker %s: %s", route.session, name, value)
            self._give_up(name)  # `died` moves its walks
            return
        if name not in self._state.workers or route.worker != name:
            return  # it has died since; `died` has handled it
        if wrong := value.get(route.session):
            self._stays(name, route, wrong)
            return
        route.worker = route.home = ""
        self._state.counts.moves += 1
        if route.seats or route.waiting:
            self._take_up([route])
        else:
            route.is_moving = False

    def _stays(self, name: str, route: Route, wrong: str) -> None:
        """A walk that its worker could not release stays there: the shared place has only an older copy of it."""
        log.error("session %s stays on worker %s: %s", route.session, name, wrong)
        self._failed[name], route.home = (time.monotonic(), wrong), name
        if route.driver is not None:
            text = (
                f"this walk cannot move to another machine ({wrong}); it goes on where it is, and nothing of it is "
                "lost unless that machine ends before it can be copied"
            )
            self._state.tell(route.driver, p.Error(code="storage", message=text, session=route.session))
        self._take_up([route])

    def leave(self, client: bytes) -> None:
        """A client is gone. A walk that was being taken up for it as its driver has been taken up now."""
        for seq in [seq for seq, (_, who, _) in self._resuming.items() if who == client]:
            route = self._resuming.pop(seq, (None,))[0]
            if route is not None and route.is_moving and route.worker and route.driver is None:
                self._go_on(route)

    def bring(self, route: Route) -> None:
        """Give a walk that is only in the shared place to a worker, for a client that wants it now."""
        if not route.is_moving:
            self._take_up([route])

    def arrived(self) -> None:
        """A worker has started: walks that found no worker are given to it."""
        stranded, self._stranded = self._stranded, []
        self._take_up(stranded)

    def opened(self, connection: WorkerConnection, header: dict) -> None:
        """A worker's answer to a request of the front itself: a client is again the driver or a spectator of a walk
        that moved."""
        route, client, told = self._resuming.pop(header["seq"], (None, b"", 0))
        seat = route.seats.get(client) if route else None
        if route is None or seat is None:
            return
        if seat.credits > told:  # granted since then
            connection.send(p.Credit(session=route.session, frames=seat.credits - told))
        if client == route.driver:
            self._seated(connection, route, header)

    def _seated(self, connection: WorkerConnection, route: Route, header: dict) -> None:
        """The driver has its walk again: repeat what was lost."""
        last, before = header.get("last", 0), route.index
        route.index = header["index"]
        again = route.again(last)
        typed = sum(act.mode == "once" and act.seq > last for act in again)
        lost = max(0, before - route.index - typed)
        self._state.counts.resumes += 1
        self._state.counts.frames_lost += lost
        log.info("session %s goes on at frame %d, %d before", route.session, route.index, before - route.index)
        for client in list(route.seats):  # one that is found to be gone leaves its seat
            told = p.Resumed(session=route.session, index=route.index, last=last, moved=route.moved)
            self._state.tell(client, told)
        if lost and route.driver is not None:
            text = (
                f"the machine of this walk has ended; it goes on from frame {route.index}: the {lost} frames after it "
                "had not been copied yet"
            )
            self._state.tell(route.driver, p.Error(code="storage", message=text, session=route.session))
        for act in again if route.driver == connection.client else []:
            connection.send(act)
        self._go_on(route)

    def refused(self, header: dict) -> None:
        """A worker has refused a request of the front itself."""
        route, client, _ = self._resuming.pop(header["seq"], (None, b"", 0))
        if route is not None and client == route.driver:
            self._state.fail(route, f"this walk could not be taken up elsewhere: {header.get('message', '')}")

    def _take_up(self, routes: list[Route]) -> None:
        """Give these walks to workers, each to the one with most room."""
        state = self._state
        by_worker: dict[str, list[Route]] = {}
        state.recount()
        for route in routes:
            worker = state.workers.get(route.home) or place(state.workers.values(), state.rules, is_urgent=True)
            route.is_moving = True
            if worker is None:
                self._stranded.append(route)
                continue
            worker.driven += route.driver is not None
            route.worker = worker.about.name
            by_worker.setdefault(worker.about.name, []).append(route)
        for name, moved in by_worker.items():
            for route in moved:
                work = partial(state.fleet.ask, name, "adopt", [route.session])
                state.background.call(work, partial(self._adopted, name, route))

    def _adopted(self, name: str, route: Route, value: Any) -> None:
        state = self._state
        worker = state.workers.get(name)
        if worker is None or route.worker != name:
            return  # that worker has died meanwhile; `died` has handled it
        if isinstance(value, WorkerLostError):  # it is dead, and the news of it has not come yet
            self._give_up(name)
            return
        wrong = str(value) if isinstance(value, Exception) else value.get(route.session, "")
        if wrong:
            log.error("session %s cannot be taken up on %s: %s", route.session, name, wrong)
            if isinstance(value, Exception):  # it may have it, or get it yet: nobody else takes it
                route.home = name
            route.worker = ""
            state.counts.walks_lost += 1
            state.fail(route, f"this walk cannot be taken up again for now ({wrong})")
            return
        for client, seat in route.seats.items():
            credits = max(0, min(p.MAX_CREDITS, seat.credits))
            seq = next(self._seqs)
            self._resuming[seq] = (route, client, credits)
            view = {"seq": seq, "credits": credits, **seat.view}
            known = p.Resume(token=route.token, **view) if seat.is_driver else p.Watch(session=route.session, **view)
            state.connection(client, name).send(known)
        if route.driver is None:
            for client in list(route.seats):
                state.tell(client, p.Resumed(session=route.session, index=route.index, moved=route.moved))
            self._go_on(route)

    def _go_on(self, route: Route) -> None:
        """Handle the messages that have waited."""
        route.is_moving = False
        waiting, route.waiting = route.waiting, []
        for client, message in waiting:
            self._dispatch(client, message, b"")

    def _ask_again(self, client: bytes, message: p.Message, payload: bytes) -> None:
        """Repeat a request that a worker had when it died, or tell the client."""
        if (
            not isinstance(message, p.Request)
            or message.seq >= FIRST_INTERNAL_SEQ
            or client not in self._state.wire.clients
        ):
            return
        if isinstance(message, REPEATABLE):
            self._dispatch(client, message, payload)
            return
        text = f"the worker died over this '{message.TYPE}', which may have been done or not; ask again"
        self._state.tell(client, p.Error(seq=message.seq, code="internal", message=text, session=session_of(message)))
