"""Headless Chromium for tests of pages, driven by the DevTools protocol over a pipe: no port, no further package.

    with Chromium() as browser:
        page = browser.open("http://127.0.0.1:8000/")        # or a Path
        page.wait("document.querySelectorAll('tr').length > 3")
        page.click("#start")
        assert "done" in page.dom() and page.problems == []
        page.screenshot(tmp_path / "page.png")

Names other than loopback do not resolve, so that a page that fetches anything from outside shows it in `problems`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost", "--remote-debugging-pipe",
)  # fmt: skip
# The browser reads commands from descriptor 3 and writes answers to 4.
_LAUNCH = """
import fcntl, os, sys
held = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]]
os.dup2(held[0], 3)
os.dup2(held[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(AssertionError):
    """The browser did not start, or the page did not do what was waited for; one line."""


def find() -> str:
    """The browser's path."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise BrowserError("no Chromium: `make dev` installs the package `chromium`")


class Chromium:
    """One browser process with a profile of its own, gone afterwards."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._stderr = open(Path(self._folder.name) / "stderr", "wb")  # noqa: SIM115 - closed in close()
        ours_in, theirs_out = os.pipe()
        theirs_in, self._out = os.pipe()
        self._in = ours_in
        flags = [*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={self._folder.name}/profile"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), find(), *flags, "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._stderr,
            env={**os.environ, "HOME": self._folder.name},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._size = width, height
        self._buffer, self._next = b"", 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}
        self.call("Target.setDiscoverTargets", {"discover": True})

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, where: str | Path, seconds: float = 30) -> Page:
        """A new page at a URL or file, loaded."""
        url = where.resolve().as_uri() if isinstance(where, Path) else where
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        width, height = self._size
        page.call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        page.go(url, seconds)
        return page

    def call(
        self, method: str, params: dict[str, Any] | None = None, session: str = "", seconds: float = 30
    ) -> dict[str, Any]:
        """One command of the DevTools protocol and its result."""
        self._next += 1
        number = self._next
        message = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        raw, sent = json.dumps(message).encode() + b"\0", 0
        while sent < len(raw):
            sent += os.write(self._out, raw[sent:])
        deadline = time.monotonic() + seconds
        while number not in self._answers:
            if time.monotonic() > deadline:
                raise BrowserError(f"the browser did not answer {method} within {seconds:g} s")
            self.pump(0.2)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def pump(self, seconds: float) -> None:
        """Takes what the browser says within that time: answers, and the pages' events."""
        if not select.select([self._in], [], [], seconds)[0]:
            return
        got = os.read(self._in, 1 << 20)
        if not got:
            last = (Path(self._folder.name) / "stderr").read_text(errors="replace").strip()[-400:]
            raise BrowserError(f"the browser ended: {last}")
        *whole, self._buffer = (self._buffer + got).split(b"\0")
        for raw in whole:
            message = json.loads(raw)
            if "id" in message:
                self._answers[message["id"]] = message
            elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
                page.hear(message["method"], message["params"])

    def close(self) -> None:
        """Ends the process this object started."""
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close", seconds=5)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for end in (self._in, self._out):
            os.close(end)
        self._stderr.close()
        self._folder.cleanup()


class Page:
    """A tab. `requests`: every URL it asked for; `problems`: uncaught errors, console errors, failed requests."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session
        self._loaded = False
        self.requests: list[str] = []
        self.problems: list[str] = []

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """A command of the DevTools protocol for this page."""
        return self._browser.call(method, params, self._session)

    def hear(self, method: str, params: dict[str, Any]) -> None:
        """An event of the page."""
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.loadingFailed" and not params.get("canceled"):
            self.problems.append(f"request failed: {params.get('errorText')}")
        elif method == "Runtime.exceptionThrown":
            detail = params["exceptionDetails"]
            self.problems.append(str(detail.get("exception", {}).get("description") or detail["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.problems.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}".strip())

    def go(self, url: str, seconds: float = 30) -> None:
        """Loads a URL in this page."""
        self._loaded = False
        failed = self.call("Page.navigate", {"url": url}).get("errorText")
        if failed:
            raise BrowserError(f"{url}: {failed}")
        deadline = time.monotonic() + seconds
        while not self._loaded:
            if time.monotonic() > deadline:
                raise BrowserError(f"{url} did not load within {seconds:g} s")
            self._browser.pump(0.2)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression (promises are awaited), as JSON."""
        got = self.call(
            "Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True}
        )
        if "exceptionDetails" in got:
            detail = got["exceptionDetails"]
            raise BrowserError(
                f"{script[:80]}: {detail.get('exception', {}).get('description', detail['text'])}"
            )
        return got["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> Any:
        """Until the expression is true; its value."""
        deadline = time.monotonic() + seconds
        while True:
            if got := self.evaluate(script):
                return got
            if time.monotonic() > deadline:
                raise BrowserError(f"not within {seconds:g} s: {script}")
            self._browser.pump(0.1)

    def click(self, selector: str, seconds: float = 20) -> None:
        """Waits for the element, scrolls to it and clicks its middle with a mouse of the browser's."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{element} !== null", seconds)
        x, y = self.evaluate(
            f"(e => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}}); const r = e.getBoundingClientRect(); "
            f"return [r.x + r.width / 2, r.y + r.height / 2] }})({element})"
        )
        for kind in ("mousePressed", "mouseReleased"):
            event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", event)

    def fill(self, selector: str, text: str) -> None:
        """Types into a field."""
        self.click(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select?.()")
        self.call("Input.insertText", {"text": text})

    def upload(self, selector: str, *files: Path) -> None:
        """Chooses files in an <input type=file>."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self.call("DOM.setFileInputFiles", {"nodeId": node, "files": [str(f.resolve()) for f in files]})

    def text(self, selector: str = "body") -> str:
        """What a reader sees of an element."""
        return str(self.wait(f"document.querySelector({json.dumps(selector)})?.innerText ?? null"))

    def dom(self) -> str:
        """The document as it stands after its scripts."""
        return str(self.evaluate("document.documentElement.outerHTML"))

    def screenshot(self, path: Path, whole: bool = True) -> Path:
        """A PNG of the page (`whole`: below the fold too)."""
        got = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(got["data"]))
        return path

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Another window size, as a telephone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile},
        )
