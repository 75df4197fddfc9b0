"""A headless Chromium for tests of pages, where one is installed. Knows nothing of our pages."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


class Socket:
    """A debugging socket: commands and their answers."""

    def __init__(self, url: str):
        from websockets.sync.client import connect  # whoever asks for a browser has looked whether it is there

        self.socket, self.numbers = connect(url, max_size=None, open_timeout=60), itertools.count(1)

    def command(self, method: str, **params) -> dict:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=120))
            if answer.get("id") == number:
                assert "result" in answer, answer
                return answer["result"]


class Browser:
    """A headless Chromium, driven over its debugging socket. It takes long to start, so one serves many pages.

    folder: where it keeps its profile; flags: how it draws, by default not in three dimensions.
    """

    def __init__(self, folder: Path, *, flags: Sequence[str] = ("--disable-gpu",)):
        always = ["--headless=new", "--no-sandbox", "--no-first-run", "--remote-debugging-port=0"]
        command = [BROWSER, *always, *flags, f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port, path = until(lambda: _two(folder / "DevToolsActivePort"))
        self.socket = until(lambda: Socket(f"ws://127.0.0.1:{self.port}{path}"))

    def page(self, url: str, *, size: tuple[int, int] = (600, 700), script: str = "") -> Page:
        """A page in a window of its own, which shares neither cookies nor storage with other pages.

        script: run in the page before its own.
        """
        context = self.socket.command("Target.createBrowserContext")["browserContextId"]
        window = dict(width=size[0], height=size[1], newWindow=True, browserContextId=context)
        target = self.socket.command("Target.createTarget", url="about:blank", **window)["targetId"]
        page = Page(self, f"ws://127.0.0.1:{self.port}/devtools/page/{target}", context)
        page.command("Page.enable")
        if script:
            page.command("Page.addScriptToEvaluateOnNewDocument", source=script)
        page.command("Page.navigate", url=url)
        return page

    def close(self) -> None:
        self.socket.socket.close()
        self.process.terminate()
        self.process.wait(30)


def _two(path: Path) -> list[str]:
    """The two lines of that file, once it has both."""
    lines = path.read_text().split()
    return lines if len(lines) == 2 else []


class Page(Socket):
    """One page of a browser."""

    def __init__(self, browser: Browser, url: str, context: str):
        super().__init__(url)
        self.browser, self.context = browser, context

    def value(self, expression: str):
        """The value of an expression in the page; a promise is waited for."""
        wanted = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        return self.command("Runtime.evaluate", **wanted)["result"].get("value")

    def wait_for(self, expression: str):
        return until(lambda: self.value(expression))

    def key(self, code: str, is_down: bool) -> None:
        self.command("Input.dispatchKeyEvent", type="keyDown" if is_down else "keyUp", code=code, key=code)

    def drawn(self, canvas: str) -> np.ndarray:
        """What the canvas with that id last drew, (H, W, 3) uint8."""
        take = (
            f"requestAnimationFrame(() => done(document.getElementById('{canvas}').toDataURL()))"  # before it is shown
        )
        picture = base64.b64decode(self.value(f"new Promise(done => {take})").split(",")[1])
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        self.socket.close()
        self.browser.socket.command("Target.disposeBrowserContext", browserContextId=self.context)


def until(get):
    """What `get` returns once it returns something; while it fails, what it wants is not there yet."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if value := get():
                return value
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError("the browser did not come to that within 120 s")
