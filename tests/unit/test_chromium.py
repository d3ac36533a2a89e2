"""The browser the page tests use sees, clicks, waits, and tells of errors and of what is fetched from outside."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from chromium import BrowserError, Chromium

PAGE = """<!doctype html><title>t</title><input id=name><input id=file type=file multiple><p id=out></p>
<div style="height:3000px"></div>
<button id=go onclick="setTimeout(() => { document.querySelector('#out').textContent = 'hello ' + document
.querySelector('#name').value + ' ' + document.querySelector('#file').files.length }, 100)">go</button>"""


def test_it_clicks_types_waits_and_tells_problems(tmp_path: Path) -> None:
    clean, bad = tmp_path / "clean.html", tmp_path / "bad.html"
    clean.write_text(PAGE)
    bad.write_text("<!doctype html><img src='https://example.com/x.png'><script>undefinedName()</script>")
    with Chromium() as browser:
        page = browser.open(clean)
        page.fill("#name", "you")
        page.upload("#file", clean, bad)
        page.click("#go")
        page.wait("document.querySelector('#out').textContent")
        assert page.text("#out") == "hello you 2" and "hello you" in page.dom()
        assert page.problems == [] and page.requests == [clean.as_uri()]
        shot = page.screenshot(tmp_path / "p.png").read_bytes()
        assert shot.startswith(b"\x89PNG") and int.from_bytes(shot[20:24], "big") > 3000
        with pytest.raises(BrowserError, match="not within"):
            page.wait("document.querySelector('#never')", 0.3)
        other = browser.open(bad)
        assert "https://example.com/x.png" in other.requests
        assert any("undefinedName" in p for p in other.problems) and len(other.problems) >= 2
