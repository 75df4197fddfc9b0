"""A walk on a headset of a real OpenXR runtime: Monado, which simulates the head (tests/engines/monado.sh)."""

import json
import subprocess
from pathlib import Path

import pytest
from roam.viewer.opening.worlds import SceneWorlds
from roam.viewer.server.server import Server

ROOT = Path(__file__).parents[3]
MONADO = ROOT / "build" / "engines" / "monado"


@pytest.mark.skipif(not MONADO.exists(), reason="no Monado here; tests/engines/monado.sh fetches it")
def test_a_walk_is_shown_to_both_eyes_of_monados_headset_and_follows_its_head(tmp_path):
    with Server(SceneWorlds(), folder=tmp_path) as server:
        done = subprocess.run([MONADO, server.address, "40"], capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["name"] == "Monado: Simulated HMD" and told["pictures"] == 40
    assert told["heads"] > 20 and 0.05 < told["ipd_m"] < 0.08  # its head keeps swaying
    assert told["difference"] < 1  # what the runtime holds is what was shown
    assert told["steps"] == told["frame"] > 0
