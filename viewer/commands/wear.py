"""What `roam play --xr` and `roam view --xr` do: a walk in a headset, by OpenXR."""

from __future__ import annotations

from ...world.frame import Explorer
from ..client.knock import Address, connect
from ..files.outputs import OutputError
from ..opening.starting import without_collecting
from ..play.progress import waiting
from ..play.stopping import Stopping
from ..xr.headset import Headset
from ..xr.wear import Wearer, Wearing
from .play import OPENING, Order
from .view import RemoteOpener, ViewOrder


def wear(order: Order) -> None:
    """Show a world of this machine in a headset until the headset or a signal ends it; frames: pictures to show at
    most."""
    if order.record or order.actions or order.is_mapped:
        raise OutputError("a walk that is worn is neither recorded, scripted nor mapped: leave those options out")
    headset = Headset()
    try:
        with waiting(OPENING), without_collecting():
            explorer = order.opener.open(order.start).explorer
        _worn(explorer, headset, pictures=order.frames)
    finally:
        headset.close()


def wear_remote(order: ViewOrder) -> None:
    """Show a world of a server in a headset."""
    if order.record:
        raise OutputError("a walk that is worn is not recorded: leave out --record")
    headset = Headset()
    try:
        with connect(Address(order.address, order.server_key, order.keys, order.name)) as client:
            _worn(RemoteOpener(client).open(order.start).explorer, headset)
    finally:
        headset.close()


def _worn(explorer: Explorer, headset: Headset, *, pictures: int | None = None) -> None:
    stop = Stopping()
    print(f"worn on {headset.name}; Ctrl-C ends it")
    try:
        with stop:
            told = Wearer(explorer, headset).run(pictures=pictures, stop=lambda: stop.is_asked)
    finally:
        explorer.close()
    print(_told(told))
    stop.leave()


def _told(told: Wearing) -> str:
    rate = f"{told.pictures} pictures for both eyes, {told.per_s:.1f} a second"
    return f"{rate}; {told.steps} steps after the head, {told.dreams} dreams of what it saw aside"
