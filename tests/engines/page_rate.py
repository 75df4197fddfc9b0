"""How often the page at /xr draws in Chromium, beside a world that makes many frames and one that makes few.

python -m tests.engines.page_rate        (from the root of the checkout; wants Chromium)

It draws in software where there is no graphics card. Prints a table and a line of JSON, and keeps the latter in
bench/results.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from roam.bench.machine import RESULTS, Machine, load_average
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.viewer.opening.worlds import OpenRequest, Worlds
from roam.viewer.server.gateway import Gateway
from roam.viewer.server.server import Server
from roam.world.pose import Camera

from ..viewer.browser import BROWSER, SOFTWARE_GL, Browser, Page

SECONDS = 10.0
PAUSES_S = (0.05, 0.5, 2.0)  # that a step of the world takes


class Paced(SceneSession):
    """A true scene whose steps take a given time."""

    pause_s = 0.0

    def step(self, action):
        time.sleep(self.pause_s)
        return super().step(action)


class PacedWorlds(Worlds):
    """Opens paced scenes."""

    models, worlds = ("scene",), ("rooms",)
    fov_deg = Camera().fov_deg

    def open(self, request: OpenRequest) -> Paced:
        return Paced(make_scene("test", request.seed))

    def load(self, path: Path) -> Paced:
        raise NotImplementedError("nothing is saved here")


def rates(page: Page) -> dict:
    """Frames a second, of the display and of the world, while the viewer keeps turning."""
    page.value("setInterval(() => roam.viewer.drag(-2, 0), 50)")
    began, drawn, made = time.monotonic(), page.value("roam.drawn"), page.value("roam.walk.frames")
    page.value(f"new Promise(done => setTimeout(done, {1000 * SECONDS}))")
    seconds = time.monotonic() - began
    shown, came = page.value("roam.drawn") - drawn, page.value("roam.walk.frames") - made
    return {"display_per_s": shown / seconds, "frames_per_s": came / seconds}


def shown(url: str) -> dict:
    """The rates of the page there."""
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(Path(folder) / "profile", flags=SOFTWARE_GL)
        try:
            page = browser.page(url, size=(640, 480))
            page.wait_for("globalThis.roam && roam.walk.isDriving && roam.drawn > 3")
            return rates(page)
        finally:
            browser.close()


def main() -> None:
    rows = []
    for pause_s in PAUSES_S:
        Paced.pause_s = pause_s
        with Server(PacedWorlds()) as server, Gateway(server.address) as gateway:
            rows.append({"step_s": pause_s, **shown(gateway.url + "xr?seed=7&smooth=no")})
        print(
            "a step takes {step_s:4.2f} s: {frames_per_s:5.1f} frames/s, display {display_per_s:5.1f}/s".format(
                **rows[-1]
            )
        )
    machine = Machine.here()
    result = {"machine": machine.as_dict(), "load": load_average(), "browser": BROWSER, "gl": "software", "rows": rows}
    print(json.dumps(result))
    (RESULTS / f"page-{machine.slug}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
