"""A headless Chromium driven over a pipe: opens a page, records console and requests, evaluates, takes screenshots."""

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def require_chromium() -> str:
    """Path of the browser; without one the test is skipped, and fails where CI is set."""
    found = next((path for name in COMMANDS if (path := shutil.which(name))), None)
    if found is None:
        message = "chromium is not installed: apt-get install -y chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return str(found)


class Page:
    """One tab.

    Attributes:
        messages: Text of everything on the console at warning level or above, and of uncaught errors.
        requests: URLs asked for, the page itself and data URIs left out.
    """

    def __init__(self, browser: "Browser", session: str) -> None:
        self.browser, self.session = browser, session
        self.messages: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, parameters, self)

    def open(self, path: Path, *, width: int, height: int, dark: bool = False) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.browser.wait_for("Page.loadEventFired", self)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        text = {"Enter": "\r"}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            code = {"windowsVirtualKeyCode": 13} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text, **code)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


class Browser:
    """The browser's process; messages are JSON, each ended by a zero byte (`--remote-debugging-pipe`)."""

    def __init__(self, read: int, write: int) -> None:
        self.input, self.output = os.fdopen(read, "rb"), os.fdopen(write, "wb")
        self.number = 0
        self.pages: dict[str, Page] = {}
        self.seen: list[tuple[str, str]] = []

    def call(self, method: str, parameters: dict[str, Any], page: Page | None = None) -> dict[str, Any]:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if page is not None:
            message["sessionId"] = page.session
        self.output.write(json.dumps(message).encode() + b"\0")
        self.output.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                result: dict[str, Any] = answer["result"]
                return result

    def wait_for(self, event: str, page: Page) -> None:
        while (event, page.session) not in self.seen:
            self._receive()

    def new_page(self) -> Page:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self.pages[session] = Page(self, session)
        return self.pages[session]

    def _receive(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self.input.read(1)) != b"\0":
            if not byte:
                raise AssertionError("chromium closed its pipe")
            data += byte
        message: dict[str, Any] = json.loads(data)
        page = self.pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            self.seen.append((message["method"], page.session))
            _record(page, message["method"], message["params"])
        return message


def _record(page: Page, method: str, event: dict[str, Any]) -> None:
    if method == "Runtime.exceptionThrown":
        page.messages.append(event["exceptionDetails"]["text"])
    elif method == "Runtime.consoleAPICalled" and event["type"] in {"warning", "error", "assert"}:
        page.messages.append(str(event["args"]))
    elif method == "Log.entryAdded" and event["entry"]["level"] in {"warning", "error"}:
        page.messages.append(event["entry"]["text"])
    elif method == "Network.requestWillBeSent":
        url = event["request"]["url"]
        if not url.startswith("data:") and event["type"] != "Document":
            page.requests.append(url)


def high_pipe() -> tuple[int, int]:
    """A pipe whose descriptors are not those that the browser expects it at."""
    low = os.pipe()
    high = tuple(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in low)
    for descriptor in low:
        os.close(descriptor)
    return high[0], high[1]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser in its own process group with a profile of its own, both gone afterwards."""
    command = require_chromium()
    to_browser, from_browser = high_pipe(), high_pipe()  # the browser reads descriptor 3 and writes descriptor 4
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
    options += ["--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-extensions"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        plumbing = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
        process = subprocess.Popen(
            ["bash", "-c", plumbing, command, *options, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser[0], from_browser[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            yield Browser(from_browser[0], to_browser[1])
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
