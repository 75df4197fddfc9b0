"""A headless Chromium for tests of pages, where one is installed. Knows nothing of our page."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


class Browser:
    """A headless Chromium with one page, driven over its debugging socket.

    flags: how it draws, by default not in three dimensions; script: run in the page before its own.
    """

    def __init__(self, url: str, folder: Path, *, flags: Sequence[str] = ("--disable-gpu",), size="600,700", script=""):
        first = "about:blank" if script else url
        always = f"--headless=new --no-sandbox --no-first-run --window-size={size} --remote-debugging-port=0".split()
        command = [BROWSER, *always, *flags, f"--user-data-dir={folder}", first]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = self._until(lambda: (folder / "DevToolsActivePort").read_text().split()[0])
        pages = self._until(lambda: self._pages(port, first))
        from websockets.sync.client import connect  # whoever asks for a browser has looked whether it is there

        self.socket = connect(pages[0]["webSocketDebuggerUrl"], max_size=None, open_timeout=60)
        self.numbers = itertools.count(1)
        if script:
            self.command("Page.enable")
            self.command("Page.addScriptToEvaluateOnNewDocument", source=script)
            self.command("Page.navigate", url=url)

    def command(self, method: str, **params) -> dict:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=120))
            if answer.get("id") == number:
                assert "result" in answer, answer
                return answer["result"]

    def value(self, expression: str):
        """The value of an expression in the page; a promise is waited for."""
        wanted = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        return self.command("Runtime.evaluate", **wanted)["result"].get("value")

    def wait_for(self, expression: str):
        return self._until(lambda: self.value(expression))

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
        self.process.terminate()
        self.process.wait(30)

    def _pages(self, port: str, url: str) -> list:
        listed = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30).read())
        return [page for page in listed if page["type"] == "page" and page["url"].startswith(url)]

    def _until(self, get):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if value := get():
                    return value
            except (OSError, IndexError):  # not there yet, or begun and empty
                pass
            time.sleep(0.1)
        raise TimeoutError("the browser did not come to that within 120 s")
