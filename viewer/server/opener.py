"""Begins walks: in a new world, from a save, or as a fork of another; and limits how many a guest may begin.

A walk is made in its own strand (stepper.py), written to the disk, and only then entered in the registry. So no client
learns of a walk that a crash could lose.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Protocol

from ...world.frame import Explorer, Frame
from ..opening.worlds import OpenRequest, Worlds
from ..wire import protocol as p
from ..wire.encoding import read_image
from .command_queue import CommandQueue
from .explorers import Explorers
from .keeping.records import Meta
from .refusals import log_failure
from .registry import Client, Registry, ServedWalk, secret_of
from .socket import ServerSocket
from .threads.stepper import DISK, ENGINE, Stepper

FIRST_OPENS = 100  # walks that a guest may begin at once, before `opens_per_s` applies
MOST_GUESTS = 4096  # guests whose openings are counted; the one that has opened none for longest is forgotten


class Asks(Protocol):
    """Runs slow work for a client's message; see Handlers."""

    def __call__(
        self,
        client: Client,
        message: p.Message,
        links: list,
        then: Callable[[Any], None],
        *,
        of: ServedWalk | None = None,
        failed: Callable[[], None],
        settled: Callable[[], None],
    ) -> None: ...


class WalkOpener:
    """Begins walks. ask: runs slow work (Handlers._ask); make_room: forgets a guest's walk if it has too many.

    num_opening: how many walks are being opened and are not in the registry yet; picture_bytes: size of all first
    pictures that wait to be read.
    """

    def __init__(
        self,
        worlds: Worlds,
        registry: Registry,
        wire: ServerSocket,
        explorers: Explorers,
        stepper: Stepper,
        *,
        ask: Asks,
        make_room: Callable[[str], None],
    ):
        self._worlds, self._registry, self._wire = worlds, registry, wire
        self._explorers, self._stepper, self._limits = explorers, stepper, registry.limits
        self._ask, self._make_room = ask, make_room
        # by guest: how many walks are still allowed, and as of when
        self._opens: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.picture_bytes = self.num_opening = 0

    def open(self, client: Client, message: p.Open, payload: bytes | memoryview) -> None:
        """Begin a walk in a new world, at a picture if there is one in the payload. Raises ProtocolError."""
        if self.picture_bytes + len(payload) > self._limits.max_picture_bytes:
            raise p.ProtocolError("limit", "many pictures are being opened; ask again in a moment")
        wanted = OpenRequest(
            message.model, message.world, message.seed, message.text, None, message.width, message.height
        )
        is_alone = self._worlds.is_alone(wanted)

        def prepared(_: Any) -> Callable[[], Explorer]:
            image = read_image(payload) if payload else None
            return self._worlds.prepare(replace(wanted, image=image))

        self.picture_bytes += len(payload)
        opening = f"opening for {client.id.hex()}"
        self._begin(
            client, message, [(opening, prepared)], lambda begin: begin(), is_alone=is_alone, payload_bytes=len(payload)
        )

    def load(self, client: Client, message: p.Load) -> None:
        """Begin a walk from a save. Raises StoreError if the client has no save of that name."""
        owners = [secret_of(message.token)] if message.token else list(client.secrets)
        path = self._explorers.store.find_save(owners, message.name)
        is_alone = self._worlds.is_alone(path)
        self._begin(client, message, [], lambda _: self._worlds.load(path), is_alone=is_alone)

    def fork(self, client: Client, message: p.Fork) -> None:
        """Begin a walk as a copy of another one as it is now."""
        source = self._registry.driven(message.session, client.id)
        self._begin(client, message, [], lambda _: self._explorers.fork(source.id), is_alone=source.is_alone, of=source)

    def _begin(
        self,
        client: Client,
        message: p.Viewing,
        before: list,
        make: Callable[[Any], Explorer],
        *,
        is_alone: bool,
        of: ServedWalk | None = None,
        payload_bytes: int = 0,
    ) -> None:
        """Make a walk, write it to the disk and enter it in the registry. before: links (Stepper.chain); `make` gets
        the value of the last one. of: the walk that this one is a fork of."""
        name, token = secrets.token_hex(8), secrets.token_hex(16)
        strand = of.strand if of else name if is_alone else ENGINE
        meta = Meta(name, secret_of(token), is_alone=is_alone, guest=client.guest)
        begin = lambda value: self._explorers.begin(meta, make(value))  # noqa: E731
        links = [*before, (strand, begin), (DISK, self._written), (strand, self._seated)]
        then = partial(self._enter, client, message, meta, token, strand)
        held = [payload_bytes]  # until the work is done, successfully or not

        def settled() -> None:
            self.picture_bytes -= held.pop() if held else 0

        try:
            self._check(client)
            self.num_opening += 1
            try:
                self._ask(client, message, links, then, of=of, failed=self._one_less, settled=settled)
            except ValueError:
                self._one_less()
                raise
        except ValueError:
            settled()
            raise

    def _check(self, client: Client) -> None:
        """Make room for one more walk of a client. Raises ProtocolError if it may not begin one now."""
        if self._registry.driven_by(client.id) + client.jobs >= self._limits.max_driven:
            raise p.ProtocolError("limit", f"you drive {self._limits.max_driven} walks; close some, or let some go")
        self._count_opening(client.guest)
        self._make_room(client.guest)

    def _written(self, pair: tuple) -> tuple:
        try:
            self._explorers.write_first(*pair)
        except Exception as error:  # it is closed in its own strand, then the client is told
            return (*pair, error)
        return (*pair, None)

    def _seated(self, made: tuple) -> Frame:
        awake, frozen, error = made
        if error:
            if frozen is not awake.explorer:
                frozen.close()
            awake.explorer.close()
            raise error
        return self._explorers.seat(awake, frozen)

    def _enter(self, client: Client, message: p.Viewing, meta: Meta, token: str, strand: str, frame: Frame) -> None:
        """Enter a walk that is on the disk in the registry, and tell its driver."""
        self._one_less()
        name = meta.session
        if client.id not in self._wire.clients:  # nobody will ever know the token
            self._stepper.submit(strand, lambda: self._explorers.forget(name), log_failure)
            return
        controls = CommandQueue(name, reads_words=self._worlds.reads_words and not meta.is_alone)
        walk = ServedWalk(
            name, meta.secret, controls, is_alone=meta.is_alone, guest=client.guest, is_used=frame.index > 0
        )
        session = self._registry.add(walk)
        client.secrets.append(meta.secret)
        self._wire.send(client.id, p.Opened(seq=message.seq, session=name, token=token, index=frame.index))
        self._registry.seat(session, client.id, message, frame)

    def _one_less(self) -> None:
        self.num_opening -= 1

    def _count_opening(self, guest: str) -> None:
        now = monotonic()
        allowed, since = self._opens.pop(guest, (FIRST_OPENS, now))
        allowed = min(FIRST_OPENS, allowed + (now - since) * self._limits.opens_per_s)
        self._opens[guest] = max(0.0, allowed - 1), now
        if len(self._opens) > MOST_GUESTS:
            self._opens.popitem(last=False)
        if allowed < 1:
            raise p.ProtocolError("limit", f"more than {self._limits.opens_per_s:g} walks a second; wait a moment")
