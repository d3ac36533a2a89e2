"""The live page: real services behind it, a real browser in front, and what a hostile page of another origin gets."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import chromium
from chromium import Chromium, Page
from leash import running

from blindsight.app.demo_report import Options
from blindsight.app.web import serving
from blindsight.app.web_http import PageServer

KNOWN = "/The device knows/.test(document.querySelector('#status').textContent)"
ENDED = f"({KNOWN} || document.querySelector('#status.bad') !== null) && document.querySelector('#send').textContent !== 'On its way'"


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    with serving(Options(timeout_s=120), lambda *_: None) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    before = chromium.FLAGS
    chromium.FLAGS = (*before, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    try:
        with Chromium() as running:
            yield running
    finally:
        chromium.FLAGS = before


@pytest.fixture
def page(server: PageServer, browser: Chromium) -> Page:
    opened = browser.open(server.address)
    opened.wait("!document.querySelector('#send').disabled")
    return opened


def pixels(page: Page, selector: str) -> np.ndarray:
    """uint8 (H, W, 3) of a canvas."""
    script = (
        f"(c => [c.height, c.width, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)])"
        f"(document.querySelector({json.dumps(selector)}))"
    )
    height, width, data = page.evaluate(script)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def send(page: Page) -> str:
    """Sends what is chosen and waits; the verdict."""
    page.click("#send")
    page.wait(ENDED, 90)
    assert page.evaluate(KNOWN), page.text("#status")
    return page.text("#verdict")


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    return abs(float(np.corrcoef(a.reshape(-1).astype(float), b.reshape(-1).astype(float))[0, 1]))


def test_a_picture_goes_its_way(server: PageServer, page: Page, tmp_path: Path) -> None:
    """Every panel shows what was recorded: the picture at the device alone, noise at the servers, halves that add up."""
    served = server.stage.served["mnist"]
    number = 3
    page.click(f"#gallery button:nth-child({number + 1})")
    picture = served.x[number]
    assert (pixels(page, "#preview") == picture).all()
    verdict = send(page)
    assert served.y is not None and verdict == served.labels[served.y[number]]
    assert (pixels(page, "#see-device") == picture).all()
    for who in ("broker", "cloud", "helper"):
        seen = pixels(page, f"#see-{who}")
        assert seen.shape == (28, 28, 3) and len(np.unique(seen)) > 200, who
        assert likeness(seen[..., :1], picture) < 0.2, who
    rows = "#layers tbody tr"
    assert page.evaluate(f"document.querySelectorAll('{rows}').length") == len(served.model.plan.ops)
    assert page.evaluate(f"document.querySelectorAll('{rows}.waiting').length") == 0
    first = [pixels(page, f"{rows}:first-child td:nth-child({i}) canvas")[..., 0] for i in (2, 3, 4)]
    assert likeness(first[0], picture) < 0.2 and likeness(first[1], picture) < 0.2
    assert likeness(first[2], picture) > 0.999
    halves = [int(page.text(f"#facts-answer dd:nth-of-type({i})"), 0) for i in (3, 4)]
    assert sum(halves) % 2**32 == served.y[number]
    assert page.evaluate("document.querySelectorAll('#wire tr.up').length") >= 2
    assert page.evaluate("document.querySelectorAll('#wire tr.down').length") == 2
    assert page.problems == []
    assert all(url.startswith(server.address) for url in page.requests)
    shot = np.asarray(Image.open(page.screenshot(tmp_path / "page.png")).convert("RGB"))
    box = page.evaluate(
        "(r => [r.x, r.y + scrollY, r.width])(document.querySelector('#see-device').getBoundingClientRect())"
    )
    x, y, width = (round(v) for v in box)
    on_screen = Image.fromarray(shot[y : y + width, x : x + width]).resize((28, 28), Image.Resampling.BOX)
    assert likeness(np.asarray(on_screen)[..., :1], picture) > 0.9


def test_other_networks_and_encryptions(server: PageServer, page: Page) -> None:
    script = (
        "(e => {{ e.value = '{}'; e.dispatchEvent(new Event('change')) }})(document.querySelector('#{}'))"
    )
    page.evaluate(script.format("cifar", "model"))
    page.wait("document.querySelector('#preview').width === 32 && !document.querySelector('#send').disabled")
    assert page.evaluate("document.querySelector('#tab-draw').hidden")
    page.evaluate(script.format("aes", "ingest"))
    verdict = send(page)
    assert verdict in server.stage.served["cifar"].labels
    assert "as the open network's" in page.text("#verdict-note")
    assert "xor" in page.text("#helper-saw")
    for plane in range(3):  # the pixels' two halves add up to each colour of the picture
        seen = pixels(page, f"#layers tbody tr:first-child td:nth-child(4) canvas:nth-child({plane + 1})")[
            ..., 0
        ]
        assert likeness(seen, server.stage.served["cifar"].x[0][..., plane]) > 0.999
    assert page.problems == []


@pytest.mark.parametrize("ink", ["white on black", "black on white"])
def test_ones_own_picture(server: PageServer, page: Page, tmp_path: Path, ink: str) -> None:
    """A large picture of other proportions and either ink: cut and scaled in the browser, recognised."""
    digit = server.stage.served["mnist"].x[0][..., 0]  # a seven
    big = np.zeros((560, 900), np.uint8)
    big[:, 170:730] = np.kron(digit, np.ones((20, 20), np.uint8))
    Image.fromarray(big if ink.startswith("white") else 255 - big).save(tmp_path / "seven.png")
    page.click("#tab-file")
    page.upload("#file", tmp_path / "seven.png")
    page.wait("document.querySelector('#preview-note').textContent === 'seven.png'")
    assert page.evaluate("document.querySelector('#invert').checked") == ink.startswith("black")
    assert likeness(pixels(page, "#preview")[..., 0], digit) > 0.98
    assert send(page) == "7"


def test_what_is_no_picture_is_said(page: Page, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture at all")
    page.click("#tab-file")
    page.upload("#file", tmp_path / "x.png")
    page.wait("document.querySelector('#status.bad') !== null")
    assert "x.png is no picture" in page.text("#status")


def test_a_drawing(page: Page) -> None:
    """A vertical stroke of the mouse is a one; the keyboard draws too."""
    page.click("#tab-draw")
    x, y, w = page.evaluate(
        "(r => [r.x, r.y, r.width])(document.querySelector('#pad').getBoundingClientRect())"
    )
    steps = [(x + w / 2 + 6 - i, y + 40 + i * (w - 80) / 12) for i in range(13)]
    for kind, (px, py) in zip(["mousePressed", *["mouseMoved"] * 11, "mouseReleased"], steps, strict=True):
        event = {"type": kind, "x": px, "y": py, "button": "left", "buttons": 1, "clickCount": 1}
        page.call("Input.dispatchMouseEvent", event)
    page.wait("document.querySelector('#preview-note').textContent === 'Your drawing'")
    assert send(page) == "1"
    before = pixels(page, "#preview")
    page.click("#clear")
    page.evaluate("document.querySelector('#pad').focus()")
    for key in [" ", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"]:
        page.call("Input.dispatchKeyEvent", {"type": "keyDown", "key": key})
    assert (pixels(page, "#preview") != before).any()


def test_the_webcam(page: Page) -> None:
    """Chromium's own test picture stands for a camera."""
    page.click("#tab-cam")
    page.click("#camera-on")
    page.wait("!document.querySelector('#snap').disabled", 20)
    page.click("#snap")
    page.wait("document.querySelector('#preview-note').textContent === 'From the webcam'")
    assert pixels(page, "#preview").std() > 1
    page.click("#tab-test")
    assert page.evaluate("document.querySelector('#camera').srcObject === null")


def test_the_board_beside_it(page: Page) -> None:
    """Another board, other figures; every figure has its sources."""
    first = page.text("#tiles")
    assert "awake for one picture" in first and "days" in first
    page.evaluate(
        "(e => { e.value = 'pi-5'; e.dispatchEvent(new Event('change')) })(document.querySelector('#board'))"
    )
    page.wait("/on mains/.test(document.querySelector('#tiles').textContent)")
    assert page.text("#tiles") != first
    assert page.evaluate("document.querySelectorAll('#sources li').length") > 5
    assert page.evaluate("document.querySelectorAll('#modes tbody tr').length") == 3


def test_replay(page: Page) -> None:
    """The recording runs again, slowed, and says so."""
    verdict = send(page)
    page.click("#replay")
    page.wait("/^Replay, \\d+ times slower/.test(document.querySelector('#status').textContent)")
    assert page.evaluate("document.querySelector('#send').disabled")
    page.wait("!document.querySelector('#send').disabled", 30)
    assert page.text("#verdict") == verdict
    assert page.problems == []


CONTRAST = """(names => {
  const style = getComputedStyle(document.documentElement), probe = document.createElement('i');
  document.body.append(probe);
  const linear = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = name => {
    probe.style.color = style.getPropertyValue('--' + name);
    const [r, g, b] = getComputedStyle(probe).color.match(/[0-9.]+/g).map(linear);
    return .2126 * r + .7152 * g + .0722 * b };
  const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  return names.flatMap(n => ['bg', 'panel', 'raised'].map(b => [n, b, ratio(light(n), light(b))]))
})(['text', 'muted', 'device', 'broker', 'cloud', 'helper', 'answer', 'bad'])"""


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_readable_by_everybody(page: Page, theme: str) -> None:
    """Contrast of 4.5 in both themes, a name for every control, no motion where none is wanted, 360 pixels."""
    features = [
        {"name": "prefers-color-scheme", "value": theme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    page.call("Emulation.setEmulatedMedia", {"features": features})
    low = [row for row in page.evaluate(CONTRAST) if row[2] < 4.5]
    assert not low
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, select, input, canvas[role], video')].filter(e => !(e.getAttribute('aria-label') || "
        "e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert page.evaluate("getComputedStyle(document.querySelector('.party')).transitionDuration") == "0s"
    assert page.evaluate("document.querySelector('#status').getAttribute('aria-live')") == "polite"
    page.evaluate("document.querySelector('#tab-test').focus()")
    page.call("Input.dispatchKeyEvent", {"type": "keyDown", "key": "ArrowRight"})
    assert page.evaluate("document.activeElement.id") == "tab-file"
    page.resize(360, 740, mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.resize(1280, 900)


# --- what a program or page without the address gets


def ask(
    server: PageServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    where = urlsplit(server.address)
    connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=10)
    try:
        connection.request(method, path, body, {"Host": where.netloc, **headers})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def base(server: PageServer) -> str:
    return urlsplit(server.address).path


def test_every_answer_has_its_headers(server: PageServer) -> None:
    for path in ("", "page.css", "page.js", "api/state", "none"):
        _, headers, _ = ask(server, base(server) + path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert (
            "unsafe" not in headers["content-security-policy"]
            and "http" not in headers["content-security-policy"]
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store" and headers["x-frame-options"] == "DENY"
    assert server.server_address[0] == "127.0.0.1"


def test_strangers_are_refused(server: PageServer) -> None:
    """No token, a wrong one, a rebound name, another origin, files outside the page."""
    where = urlsplit(server.address)
    assert ask(server, "/")[0] == 404
    assert ask(server, "/" + "A" * 22 + "/api/state")[0] == 404
    for host in (
        "evil.example",
        f"evil.example:{where.port}",
        "127.0.0.1",
        f"127.0.0.1:{where.port}.evil.example",
    ):
        assert ask(server, base(server), Host=host)[0] == 421, host
    picture = bytes(784)
    run = base(server) + "api/runs?model=mnist&ingest=rlwe"
    for origin in (
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://{where.netloc}"},
    ):
        assert ask(server, run, "POST", picture, **origin)[0] == 403
    for path in (
        "../web.py",
        "..%2fweb.py",
        "%2e%2e/web.py",
        "sub/../page.css",
        "api/runs/99",
        "/etc/passwd",
    ):
        assert ask(server, base(server) + path)[0] == 404, path
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert ask(server, base(server), method)[0] == 501


def test_bodies_have_a_pictures_size(server: PageServer) -> None:
    own = {"Origin": f"http://{urlsplit(server.address).netloc}"}
    run = base(server) + "api/runs?model=mnist&ingest=rlwe"
    assert ask(server, run, "POST", bytes(783), **own)[0] == 400
    assert ask(server, run, "POST", bytes(785), **own)[0] == 413
    assert ask(server, run, "POST", None, **own, **{"Content-Length": str(1 << 40)})[0] == 413
    assert ask(server, run, "POST", None, **own, **{"Content-Length": "9" * 5000})[0] == 413
    assert ask(server, run, "POST", None, **own, **{"Content-Length": "0" * 5000})[0] == 400
    assert ask(server, run, "POST", None, **own, **{"Content-Length": "-1"})[0] == 411
    assert ask(server, run.replace("rlwe", "rsa"), "POST", bytes(784), **own)[0] == 400
    assert ask(server, run.replace("mnist", "none"), "POST", bytes(784), **own)[0] == 400
    for query in (
        "cost",
        "cost?model=mnist&board=none&ingest=rlwe",
        "cost?model=mnist&board=pi-5&ingest=rlwe&server_s=nan",
    ):
        assert ask(server, f"{base(server)}api/{query}")[0] == 400, query
    assert ask(server, f"{base(server)}api/pictures?model=mnist&from=-1")[0] == 400


def test_one_picture_at_a_time_and_events_resume(server: PageServer) -> None:
    """A second picture is refused meanwhile; a browser that lost the connection gets the rest."""
    own = {"Origin": f"http://{urlsplit(server.address).netloc}"}
    run = base(server) + "api/runs?model=mnist&ingest=rlwe-sk"
    picture = server.stage.served["mnist"].x[1].tobytes()
    status, _, body = ask(server, run, "POST", picture, **own)
    assert status == 200
    assert ask(server, run, "POST", picture, **own)[0] == 409
    where = f"{base(server)}api/runs/{json.loads(body)['run']}"
    events = parse(ask(server, where)[2])
    assert events[0]["event"] == "begin" and events[-1]["event"] == "end"
    rest = parse(ask(server, where, **{"Last-Event-ID": "4"})[2])
    assert rest == events[5:]
    shares = [e for e in events if e["event"] == "share"]
    assert len(shares) == len(server.stage.served["mnist"].model.plan.ops)
    for layer in shares:
        cloud, helper = (np.frombuffer(base64.b64decode(layer[k]), np.uint8) for k in ("cloud", "helper"))
        assert cloud.size == helper.size == int(np.prod(layer["shape"]))


def parse(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: ")]


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(p) for p in found.split()]


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """The command as a user runs it: an address, Ctrl-C (which a terminal sends to every process of the group), exit
    code 0, no process and no file left.
    """
    command = [sys.executable, "-m", "blindsight.app.cli", "demo", "--web", "--json"]
    with running(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)}, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        assert address.startswith("http://127.0.0.1:")
        children = children_of(process.pid)
        assert len(children) == 3  # broker, helper, cloud
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "" and "Traceback" not in errors, errors
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
