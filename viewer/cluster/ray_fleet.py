"""Workers as Ray actors: each is a process with an engine, on whichever machine Ray has room for it.

Only calls to workers go through Ray; frames go through the workers' own sockets (connections.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ...world.options import DreamOptions
from .fleet import FleetError, WorkerLostError
from .worker import About

log = logging.getLogger(__name__)

NAMESPACE = "roam"
PREFIX = "roam-worker-"
START_S = 600.0  # weights have to be read, and kernels compiled
ANSWER_S = 120.0
WATCH_S = 0.2
CALLS = 64  # of a worker at a time; more than a front makes (background.py), or a busy worker would seem to hang
STORE_BYTES = 80 * 2**20  # of Ray's object store, which frames do not use


@dataclass(frozen=True)
class Recipe:
    """What every worker is made from. model to device: as in open_worlds; place, options: the shared place;
    front_key: the front's public key; the rest as in Worker."""

    place: str
    front_key: str
    model: str | None = None
    is_truth: bool = False
    solid: bool = True
    dreams: DreamOptions | None = None
    device: str | None = None
    options: dict | None = None
    every_s: float = 1.0
    most_walks: int = 16
    target_ms: float = 0.0


class RayWorker:
    """What runs as an actor. host: where its server listens; "" for the address by which Ray knows this machine."""

    def __init__(self, name: str, recipe: Recipe, host: str):
        from ..opening.starting import without_collecting
        from ..opening.worlds import open_worlds
        from ..server.socket import raise_file_limit
        from .storing.shared_place import SharedPlace
        from .worker import Worker

        raise_file_limit()
        with without_collecting():
            worlds = open_worlds(
                recipe.model, is_truth=recipe.is_truth, solid=recipe.solid, dreams=recipe.dreams, device=recipe.device
            )
        self._ended = threading.Event()
        self._worker = Worker(
            name,
            worlds,
            SharedPlace(recipe.place, recipe.options),
            front_key=recipe.front_key,
            address=f"tcp://{host or import_ray().util.get_node_ip_address()}:0",
            every_s=recipe.every_s,
            most_walks=recipe.most_walks,
            target_ms=recipe.target_ms,
        )

    def call(self, method: str, *arguments: Any) -> Any:
        """As in Worker."""
        return self._worker.call(method, *arguments)

    def stay(self) -> None:
        """Returns when this worker is stopped. If the worker dies, Ray raises an error to the caller who waits."""
        self._ended.wait()

    def stop(self) -> None:
        self._worker.stop()
        self._ended.set()


class RayFleet:
    """Workers made from a recipe. address: of a Ray cluster to join ("auto" for the one on this machine); None
    starts a Ray on this machine, with ports on loopback only, that ends with this process."""

    def __init__(self, recipe: Recipe, *, address: str | None = None, most: int = 1):
        self._ray = import_ray(is_alone=address is None)
        self._recipe, self._address, self._most = recipe, address, most
        self._actors: dict[str, Any] = {}
        self._watched: dict[Any, str] = {}  # the result of `stay`, to the worker's name
        self._changed = threading.Lock()
        self._on_death: Callable[[str], None] = lambda name: None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="roam-ray", daemon=True)

    def begin(self, on_death: Callable[[str], None]) -> list[About]:
        """Join or start Ray, and find the workers of an earlier front."""
        self._on_death = on_death
        quiet: dict[str, Any] = {"namespace": NAMESPACE, "logging_level": logging.WARNING, "log_to_driver": False}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if self._address:
                self._ray.init(address=self._address, **quiet)
            else:
                self._ray.init(
                    num_cpus=max(self._most, os.cpu_count() or 1),
                    include_dashboard=False,
                    object_store_memory=STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                    # otherwise Ray gives every other program priority over our steps
                    _system_config={"worker_niceness": 0},
                    **quiet,
                )
        except Exception as error:  # Ray raises bare ones too, for example where it starts too slowly
            token = (
                "" if not self._address or _has_token() else "; a token, if it asks for one, belongs in RAY_AUTH_TOKEN"
            )
            why = f"{str(error).splitlines()[0]}{token}"
            raise FleetError(f"Ray at {self._address or 'this machine'}: {why}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray puts one in its place that aborts the process
        if not self._address and not ip_address(self._ray.util.get_node_ip_address()).is_loopback:
            self._ray.shutdown()
            raise FleetError("Ray was imported by something else before, and would listen beyond this machine")
        self._thread.start()
        return [about for name in self._ray.util.list_named_actors() if (about := self._found(name))]

    def start(self) -> About:
        ray, name = self._ray, f"w{secrets.token_hex(3)}"
        needs = {"num_cpus": 1, "num_gpus": 1 if self._recipe.device == "cuda" else 0}
        lifetime = {"lifetime": "detached"} if self._address else {}
        actor = (
            ray.remote(RayWorker)
            .options(name=PREFIX + name, max_concurrency=CALLS, max_restarts=0, **needs, **lifetime)
            .remote(name, self._recipe, "" if self._address else "127.0.0.1")
        )
        try:
            told = ray.get(actor.call.remote("about"), timeout=START_S)
        except ray.exceptions.GetTimeoutError as error:
            with contextlib.suppress(Exception):
                ray.kill(actor)
            raise FleetError(
                f"no room for a worker that needs {needs} in {START_S:.0f} s; `ray status` says"
            ) from error
        except ray.exceptions.RayError as error:
            raise FleetError(f"a worker could not be started: {str(error).strip().splitlines()[-1]}") from error
        if self._ending.is_set():  # the other workers have been ended
            ray.kill(actor)
            raise FleetError("the front closes, and starts no worker any more")
        return self._enter(name, actor, told)

    def ask(self, name: str, method: str, *arguments: Any) -> Any:
        with self._changed:
            actor = self._actors.get(name)
        if actor is None:
            raise WorkerLostError(f"{name} is gone")
        try:
            return self._ray.get(actor.call.remote(method, *arguments), timeout=ANSWER_S)
        except self._ray.exceptions.GetTimeoutError as error:
            raise TimeoutError(f"{name}: no answer to '{method}' in {ANSWER_S:.0f} s") from error
        except self._ray.exceptions.RayActorError as error:
            raise WorkerLostError(f"{name}: {type(error).__name__}") from error

    def kill(self, name: str) -> None:
        actor = self._forget(name)
        if actor is not None:
            self._ray.kill(actor)

    def stop(self, name: str) -> None:
        actor = self._forget(name)
        if actor is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.get(actor.stop.remote(), timeout=ANSWER_S)
            self._ray.kill(actor)

    def end(self, *, workers_stay: bool) -> None:
        """Leave Ray. Workers stay if a cluster was joined; a Ray of our own ends."""
        self._ending.set()
        for name in [] if workers_stay and self._address else list(self._actors):
            self.stop(name)
        if self._thread.is_alive():
            self._thread.join()
        self._ray.shutdown()

    def _found(self, full_name: str) -> About | None:
        if not full_name.startswith(PREFIX):
            return None
        actor = self._ray.get_actor(full_name)
        try:
            told = self._ray.get(actor.call.remote("about"), timeout=ANSWER_S)
        except self._ray.exceptions.RayError:  # it is just ending
            return None
        return self._enter(full_name.removeprefix(PREFIX), actor, told)

    def _enter(self, name: str, actor: Any, told: dict) -> About:
        with self._changed:
            self._actors[name] = actor
            self._watched[actor.stay.remote()] = name
        return About(**told | {"models": tuple(told["models"]), "worlds": tuple(told["worlds"])})

    def _forget(self, name: str) -> Any:
        with self._changed:
            self._watched = {ref: other for ref, other in self._watched.items() if other != name}
            return self._actors.pop(name, None)

    def _watch(self) -> None:
        while not self._ending.wait(0.0 if self._watched else WATCH_S):
            with self._changed:
                refs = list(self._watched)
            ended, _ = self._ray.wait(refs, timeout=WATCH_S) if refs else ([], [])
            for ref in ended:
                name = self._watched.get(ref)
                if name is not None and self._forget(name) is not None:
                    self._on_death(name)


def import_ray(*, is_alone: bool = False) -> Any:
    """The module ray. is_alone: keep Ray's ports on loopback. Ray reads this when it is imported, from a variable
    whose name mentions only clusters on Windows and macOS. If there is a token, it is used: a Ray that `ray start`
    began asks for it, and a program that joins does not send one by itself (seen with 2.60)."""
    if is_alone:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    elif _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # GPUs stay visible to workers that reserve none
    try:
        return import_module("ray")
    except ImportError as error:
        raise FleetError("a cluster needs Ray: pip install 'roam-worlds[cluster]'") from error


def _has_token() -> bool:
    """Whether Ray finds a token where it looks for one."""
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()
