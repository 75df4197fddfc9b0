"""`roam cluster`: a running cluster can be asked for its state, drained and ended from another process, and serves
metrics to Prometheus."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
import zmq
from rich.console import Console
from roam.viewer.cli import main
from roam.viewer.client.client import Client
from roam.viewer.cluster.control import ControlError, ask
from roam.viewer.cluster.placing import Rules
from roam.viewer.cluster.report import GAUGES
from roam.viewer.cluster.scaling import Size
from roam.viewer.cluster.worker import Worker
from roam.viewer.commands import cluster as command
from roam.world.action import parse_action

from ..server.doubles import until

DASHBOARD = Path(__file__).parents[3] / "packaging" / "cluster" / "grafana.json"


@pytest.fixture
def running(cluster, capsys):
    """A cluster as the command runs it, and what it has printed: each value by the words before it."""
    folder, fleet = cluster.folder / "front", cluster.fleet()
    at = command.FrontAddress("tcp://127.0.0.1:0", metrics_port=0, page_port=0)

    def run() -> None:
        stored_walks = lambda: command.kept_walks(fleet.place)  # noqa: E731
        command.run(
            fleet, at, own=cluster.own, folder=folder, rules=Rules(), size=Size(2, 2), stored_walks=stored_walks
        )

    with patch.object(command, "on_signals"):
        thread = threading.Thread(target=run)
        thread.start()
        printed: list[str] = []
        until(lambda: printed.append(capsys.readouterr().out) or "serving on" in "".join(printed))
        said = dict(line.rsplit(" ", 1) for line in "".join(printed).splitlines())
        yield folder, said
        with contextlib.suppress(ControlError):
            ask(folder, "down", "workers")
        thread.join(60)


def test_a_cluster_is_asked_drained_scraped_and_ended(running, capsys):
    folder, said = running
    with Client(said["serving on"], timeout_s=60) as client:
        walk = client.open(seed=1)
        client.step(walk, parse_action("move forward"))
        told = ask(folder, "status")
        assert told["driven"] == 1 and len(told["workers"]) == 2 and told["frames"] == 2
        busy = next(row["name"] for row in told["workers"] if row["driven"])
        console = Console(width=200, file=io.StringIO(), record=True)
        console.print(command.table(told))
        assert busy in console.export_text()
        with urllib.request.urlopen(said["metrics at"], timeout=30) as page:
            metrics = page.read().decode()
        assert "roam_cluster_driven 1" in metrics and f'roam_worker_driven{{worker="{busy}"}} 1' in metrics
        with urllib.request.urlopen(said["walk at"], timeout=30) as page:
            assert b"<html" in page.read().lower()
        command.drain(busy, folder)
        assert f"{busy} is drained: 1 walks moved" in capsys.readouterr().out
        command.drain("nobody", folder)
        assert "no worker 'nobody'; there are: " in capsys.readouterr().out
        assert client.step(walk, parse_action("move forward")).head.index == 2
    command.down(folder, workers_too=True)
    assert "every walk is kept" in until(lambda: capsys.readouterr().out)


def test_a_cluster_is_asked_while_it_is_drained_and_ends_though_the_drain_does_not(running, cluster, capsys):
    """Whoever drains a worker watches its table; it gave no answer until the drain had ended."""
    folder, said = running
    may, release = threading.Event(), Worker.release
    with (
        Client(said["serving on"], timeout_s=60) as client,
        patch.object(Worker, "release", lambda *arguments: may.wait(60) and release(*arguments)),
    ):
        client.open(seed=1)
        busy = next(row["name"] for row in ask(folder, "status")["workers"] if row["driven"])
        with ThreadPoolExecutor() as beside:
            draining = beside.submit(ask, folder, "drain", busy)
            until(lambda: any(row["is_draining"] for row in ask(folder, "status")["workers"]))
            command.down(folder, workers_too=True)
            with pytest.raises(ControlError, match=r"the cluster ends, and with it the drain|ended before it answered"):
                draining.result(60)
            may.set()
    assert "every walk is kept" in until(lambda: capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--workers", "3", "--most", "2"], "--most 2 is less than --workers 3"),
        (["--endpoint", "http://s3:9000"], "name the bucket too, --shared s3://BUCKET/PREFIX"),
        (["--endpoint", "http://s3:9000", "--shared", "walks"], "name the bucket too, --shared s3://BUCKET/PREFIX"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_starts(options, says, capsys):
    with pytest.raises(SystemExit):
        main(["cluster", "up", "--truth", *options])
    assert says in capsys.readouterr().err


def test_a_folder_without_a_cluster_is_told_of(tmp_path):
    with pytest.raises(ControlError, match="no cluster runs in"):
        ask(tmp_path, "status")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no such sockets here")
def test_a_cluster_that_was_killed_or_ends_meanwhile_is_not_waited_for(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control"))
    with pytest.raises(ControlError, match="no cluster runs in"):  # the name exists, and no process answers it
        ask(tmp_path, "status")
    (tmp_path / "control").unlink()
    with zmq.Context() as context, ThreadPoolExecutor() as beside:
        ending = context.socket(zmq.REP)
        ending.bind(f"ipc://{tmp_path / 'control'}")
        asked = beside.submit(ask, tmp_path, "down")
        ending.recv()
        ending.close(linger=0)
        with pytest.raises(ControlError, match="ended before it answered 'down'"):
            asked.result(60)


def test_the_dashboard_shows_what_there_is():
    shown = {target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]}
    known = {f"roam_worker_{name}" for name in GAUGES} | {"roam_worker_steps_total"}
    counts = ("frames", "resumes", "moves", "deaths", "frames_lost", "refused_full", "walks_lost")
    known |= {f"roam_cluster_{name}_total" for name in counts}
    known |= {f"roam_cluster_{name}" for name in ("clients", "walks", "driven", "places", "queue", "lines", "workers")}
    for expression in shown:
        assert any(name in expression for name in known), expression
