"""The state of a cluster, for a table and for Prometheus."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .front_state import FrontState
from .placing import WorkerState

GAUGES = {
    "driven": "walks that somebody drives",
    "sessions": "walks in memory",
    "parked": "walks on the disk alone",
    "step_p50_ms": "half of the newest steps took at most so long",
    "step_p95_ms": "all but a twentieth of the newest steps took at most so long",
    "together": "steps that begin at the same time, p95",
    "num_free": "pages of the cache that are free, -1 where there is no cache",
    "memory_bytes": "memory of the worker's process",
    "behind_s": "how old the shared place may be",
    "failures": "times that the shared place did not take something",
}


def status(state: FrontState) -> dict[str, Any]:
    """The whole state as plain values; on the front's thread."""
    state.recount()
    return {
        "workers": [_row(worker) for _, worker in sorted(state.workers.items())],
        "clients": len(state.wire.clients),
        "walks": len(state.routes.by_session),
        "driven": sum(worker.driven for worker in state.workers.values()),
        "places": state.num_places,
        "queue": len(state.queue),
        "wait_s": state.queue.wait_s(len(state.queue) + 1, state.num_places),
        "lines": len(state.connections),
        **asdict(state.counts),
    }


def metrics_text(told: dict[str, Any]) -> str:
    """The text that Prometheus reads, from the result of `status`."""
    lines = []
    for name in ("frames", "resumes", "moves", "deaths", "frames_lost", "refused_full", "walks_lost"):
        lines += [f"# TYPE roam_cluster_{name}_total counter", f"roam_cluster_{name}_total {told[name]}"]
    for name in ("clients", "walks", "driven", "places", "queue", "lines"):
        lines += [f"# TYPE roam_cluster_{name} gauge", f"roam_cluster_{name} {told[name]}"]
    lines += ["# TYPE roam_cluster_workers gauge", f"roam_cluster_workers {len(told['workers'])}"]
    for name, means in GAUGES.items():
        lines += [f"# HELP roam_worker_{name} {means}", f"# TYPE roam_worker_{name} gauge"]
        lines += [f'roam_worker_{name}{{worker="{row["name"]}"}} {row[name]}' for row in told["workers"]]
    lines += ["# TYPE roam_worker_steps_total counter"]
    lines += [f'roam_worker_steps_total{{worker="{row["name"]}"}} {row["steps"]}' for row in told["workers"]]
    return "\n".join(lines) + "\n"


def _row(worker: WorkerState) -> dict[str, Any]:
    about = {"name": worker.about.name, "address": worker.about.address, "pid": worker.about.pid}
    return {**about, **asdict(worker.status), "driven": worker.driven, "is_draining": worker.is_draining}
