"""What `roam cluster` does: a front and its workers in the foreground until a signal; commands to a running one."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cluster.control import Control, ControlError, ask
from ..cluster.fleet import Fleet
from ..cluster.front import Front
from ..cluster.placing import Rules
from ..cluster.ray_fleet import RayFleet, Recipe
from ..cluster.report import metrics_text, status
from ..cluster.scaling import Size
from ..cluster.storing.shared_place import SharedPlace
from ..cluster.storing.stays import META, newest_whole, path_in, stays_of
from ..ending import Ended
from ..opening.worlds import open_worlds
from ..server.gateway import Gateway
from ..server.metrics import MetricsPage
from ..server.socket import raise_file_limit
from ..wire.security import KeyPair, SecurityError, make_key, read_key
from .serve import at_home, gateway_host, on_signals

HOME = ".local/share/roam/cluster"
ANSWER_S = 60.0
LOOK_S = 0.2  # how often a command that takes long looks whether the cluster ends


@dataclass(frozen=True)
class FrontAddress:
    """Where the front listens, and who may connect: as in `serve`."""

    address: str
    keys: Path | None = None
    is_open: bool = False
    metrics_port: int | None = None
    page_port: int | None = None
    allow_origins: Sequence[str] = ()


def up(
    recipe: Callable[[str], Recipe],
    at: FrontAddress,
    *,
    folder: Path | None,
    ray_address: str | None,
    rules: Rules,
    size: Size,
) -> None:
    """Run a cluster until SIGINT or SIGTERM. recipe: makes the workers' recipe, given the front's public key;
    folder: of the front's own key and its control socket; ray_address: as in RayFleet."""
    folder = folder or at_home(HOME)
    own = _own_key(folder)
    made = recipe(own.public)
    if made.is_truth:  # opening them costs nothing, so wrong options are refused here instead of by every worker
        open_worlds(made.model, is_truth=True, dreams=made.dreams, device=made.device)
    raise_file_limit()
    fleet = RayFleet(made, address=ray_address, most=size.most)
    place = SharedPlace(made.place, made.options)
    run(fleet, at, own=own, folder=folder, rules=rules, size=size, stored_walks=lambda: kept_walks(place))


def run(
    fleet: Fleet,
    at: FrontAddress,
    *,
    own: KeyPair,
    folder: Path,
    rules: Rules,
    size: Size,
    stored_walks: Callable[[], dict[str, str]],
) -> None:
    """A front of any fleet, with its page, its metrics and its control socket, until a signal."""
    if at.page_port is not None and at.keys:
        raise SecurityError("a front with keys needs a gateway with a key of its own: run `roam gateway` beside it")
    ending = threading.Event()
    on_signals(ending.set)
    front = Front(
        fleet, at.address, own=own, keys=at.keys, is_open=at.is_open, rules=rules, size=size, stored_walks=stored_walks
    )
    print(f"starting {size.least} workers", flush=True)
    front.start()
    closers: list[Callable[[], None]] = []
    try:
        control = Control(folder, lambda command, argument: _answer(front, ending, command, argument))
        closers.append(control.close)
        if at.metrics_port is not None:
            metrics = MetricsPage(lambda: metrics_text(_status(front)), port=at.metrics_port)
            closers.append(metrics.close)
            print(f"metrics at {metrics.url}", flush=True)
        if at.page_port is not None:
            host = gateway_host(at.address, is_open=at.is_open)
            page = Gateway(
                front.address, host=host, port=at.page_port, is_open=at.is_open, allow_origins=at.allow_origins
            ).start()
            closers.append(page.stop)
            print(f"walk at {page.url}", flush=True)
        print(f"serving on {front.address}", flush=True)
        while not ending.wait(0.5):
            pass
    finally:
        for close in reversed(closers):
            close()
        front.stop(workers_stay=front.workers_stay)
    print("every walk is kept", flush=True)


def kept_walks(place: SharedPlace) -> dict[str, str]:
    """Every walk in the shared place: its id and the hash of its token."""
    found = {}
    for session in place.folders("sessions"):
        newest = newest_whole(stays_of(place, f"sessions/{session}"))
        if newest is None:  # it was never stored completely
            continue
        try:
            meta = place.get(f"{path_in(f'sessions/{session}', newest.folder)}/{META}")
            found[session] = str(json.loads(meta)["secret"])
        except (OSError, ValueError, KeyError):  # a walk that was never stored completely
            continue
    return found


def show_status(folder: Path | None, *, once: bool) -> None:
    """`roam cluster status`: a table; in a terminal it is updated every second, until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    folder = folder or at_home(HOME)
    console = Console()
    told = ask(folder, "status", timeout_s=ANSWER_S)
    if once or not console.is_terminal:
        console.print(table(told))
        return
    with Live(table(told), console=console, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(1.0)
                live.update(table(ask(folder, "status", timeout_s=ANSWER_S)), refresh=True)
        except Ended as ended:
            if ended.number != signal.SIGINT:  # Ctrl-C is how one stops looking
                raise


def drain(worker: str, folder: Path | None) -> None:
    """`roam cluster drain WORKER`."""
    print(ask(folder or at_home(HOME), "drain", worker)["said"])


def down(folder: Path | None, *, workers_too: bool) -> None:
    """`roam cluster down`."""
    print(ask(folder or at_home(HOME), "down", "workers" if workers_too else "")["said"])


def table(told: dict[str, Any]):
    """The result of `status` as a table for people."""
    from rich.table import Table

    names = ("worker", "driven", "awake", "parked", "step p50 ms", "p95 ms", "together", "pages", "MB", "behind s")
    head = f"{told['driven']} of {told['places']} places, {told['queue']} wait, {told['clients']} clients"
    tail = f"{told['walks']} walks; {told['frames']} frames, {told['resumes']} resumed, {told['deaths']} workers died"
    shown = Table(title=head, caption=tail)
    for name in names:
        shown.add_column(name, justify="left" if name == "worker" else "right")
    for row in told["workers"]:
        shown.add_row(
            row["name"] + (" (draining)" if row["is_draining"] else ""),
            *(str(row[name]) for name in ("driven", "sessions", "parked")),
            *(f"{row[name]:.1f}" for name in ("step_p50_ms", "step_p95_ms")),
            f"{row['together']:.0f}",
            "-" if row["num_free"] < 0 else str(row["num_free"]),
            str(row["memory_bytes"] >> 20),
            f"{row['behind_s']:.1f}",
        )
    return shown


def _own_key(folder: Path) -> KeyPair:
    """The key pair by which workers know the front. It stays the same over restarts, so that they know the next
    front too."""
    keys = folder / "keys"
    return read_key(keys, "front") if (keys / "front.key_secret").exists() else make_key(keys, "front")


def _answer(front: Front, ending: threading.Event, command: str, argument: str) -> dict[str, Any]:
    if command == "status":
        return _status(front)
    if command == "drain":
        done: Future[str] = Future()
        front.do(lambda: front.drain(argument, done.set_result))
        while not wait([done], LOOK_S).done:
            if ending.is_set():
                raise ControlError(f"the cluster ends, and with it the drain of {argument}; every walk is kept")
        return {"said": done.result()}
    if command == "down":
        front.workers_stay = argument != "workers"
        ending.set()
        return {"said": "the cluster ends; every walk is kept"}
    raise ControlError(f"unknown command '{command}'; known: status, drain, down")


def _status(front: Front) -> dict[str, Any]:
    told: Future[dict[str, Any]] = Future()
    front.do(lambda: status(front.state), told.set_result)
    return {"address": front.address, **told.result(ANSWER_S)}
