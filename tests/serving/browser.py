"""A headless Chromium driven over its own debugging protocol: enough to open a page, run script in it and take its picture."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
    "--remote-debugging-port=0", "about:blank",
)  # fmt: skip


class Page:
    """One tab. ``said`` are the messages of its console and its uncaught errors, ``asked`` the addresses it asked for."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.said: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **keys: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": keys}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, keys = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.asked.append(keys["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(keys["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.said.append(keys["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.said.append(json.dumps(keys["args"]))

    def run(self, script: str) -> Any:
        """The value of an expression; promises are waited for."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < until, f"{condition} did not come true; {self.said}"
            time.sleep(0.05)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.wait(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def size(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def picture(self, path: str) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """A page of a browser of its own, which ends with the block."""
    from websockets.sync.client import connect

    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [CHROMIUM, f"--user-data-dir={folder}", *FLAGS]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            assert process.stderr is not None
            found = None
            while found is None:
                line = process.stderr.readline()
                assert line, "the browser ended"
                found = re.search(r"ws://(127\.0\.0\.1:\d+)/", line)
            without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with without_proxy.open(f"http://{found.group(1)}/json") as answer:
                tab = next(one for one in json.load(answer) if one["type"] == "page")
            with connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
                yield Page(socket)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
