"""The fault suite in short; in full with `python tests/faults/run.py --runs 200`."""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import run
from forms import Search

from blindsight.models import zoo


def check(report: dict[str, Any], runs: int) -> None:
    assert run.broken(report) == [], report
    assert report["runs"] == runs and report["pictures"] >= 6 * runs


def test_six_faults(tmp_path: Path) -> None:
    check(run.suite(6, seed=3, folder=tmp_path, say=print), 6)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_faults(tmp_path: Path) -> None:
    runs = int(os.environ.get("RUNS", "100"))
    report = run.suite(runs, seed=4, folder=tmp_path, say=print)
    check(report, runs)
    missed = [kind for kind, n in report["faults"].items() if 2 < n == report["idle"].get(kind, 0)]
    assert missed == [], "these faults never hit anything"


GOOD = {
    "runs": 6, "injected": 12, "effective": 11, "pictures": 40, "answered": 39, "failed": 1, "lost": 0,
    "duplicated": 0, "wrong": 0, "material_reused": 0, "burnt": 78, "plaintext_found": 0,
    "failures": {"GAVE_UP: 30 attempts failed": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, []),
        ({"failed": 0, "answered": 40, "burnt": 80, "failures": {}}, []),
        ({"failed": 40, "answered": 0, "burnt": 0}, ["failed", "answered"]),
        ({"failed": 2, "answered": 38}, ["failed"]),
        ({"failures": {"MANIFEST: the manifest's HMAC is wrong": 1}}, ["failed"]),
        ({"answered": 38}, ["answered"]),
        ({"answered": 38, "lost": 1}, ["lost"]),
        ({"duplicated": 1}, ["duplicated"]),
        ({"wrong": 1}, ["wrong"]),
        ({"burnt": 77}, ["burnt"]),
        ({"burnt": 0}, ["burnt"]),
        ({"material_reused": 1}, ["material_reused"]),
        ({"plaintext_found": 1}, ["plaintext_found"]),
        ({"effective": 8}, ["effective"]),
        ({"runs": 0, "injected": 0, "effective": 0}, ["effective"]),
    ],
)
def test_a_broken_invariant_is_named(change: dict[str, Any], named: list[str]) -> None:
    assert run.broken({**GOOD, **change}) == named


@pytest.mark.parametrize(
    "file",
    ["cloud-0.log", "burnt-helper.log", "broker/data/x.db", "site/cloud/a/x.bin", "site/helper/x.db-wal"],
)
def test_where_pixels_are_looked_for(tmp_path: Path, file: str) -> None:
    place = object.__new__(run.Place)  # its folder alone
    place.folder, place.devices, place.canaries = tmp_path, [], {bytes(range(100, 124))}
    for path in (tmp_path / "site/helper/master.key", tmp_path / file):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(range(32)))
    assert place.found() == 1  # the master's key, but for where it lies by design
    (tmp_path / file).write_text(json.dumps({"pixels": [*range(90, 130)]}))
    assert place.found() == 1
    (tmp_path / file).write_text("{}")
    assert place.found() == 0


def test_pixels_are_found_in_every_form() -> None:
    """The control of the search: a picture and a key as a careless program would have written them, in a line of a log."""
    picture = np.load(zoo.pictures("mnist"))["x"][0]
    pixels, key = picture.tobytes(), bytes(range(90, 122))
    line = '{"event": "run", "detail": %s}\n'
    for secret, canary in ((pixels, run.canary(pixels)), (key, key)):
        search, others = Search([canary]), Search([canary[::-1]])
        texts = {
            "hex": secret.hex(), "HEX": secret.hex().upper(), "hex with colons": secret.hex(":"), "repr": repr(secret),
            "JSON": json.dumps(secret.decode("latin1")), "numbers": json.dumps([*secret]), "list": repr([*secret]),
            "bytes(...)": repr(list(secret)).replace(" ", ""), "numpy": str(np.frombuffer(secret, np.uint8)),
            **{f"base64 from {n}": base64.b64encode(b"?" * n + secret).decode() for n in range(3)},
            **{f"urlsafe base64 from {n}": base64.urlsafe_b64encode(b"?" * n + secret).decode() for n in range(3)},
        }  # fmt: skip
        if secret is pixels:
            texts |= {
                "rows": json.dumps(picture.tolist()),
                "array": str(picture),
                "repr of array": repr(picture),
            }
        written = {form: (line % text).encode() for form, text in texts.items()}
        for before in range(9):  # wherever it lies in a binary file
            written[f"raw at {before}"] = b"\0" * before + secret + b"\1"
        for form, data in written.items():
            assert search.found(data), form
            assert not others.found(data), form
    assert not search.found(b"") and not search.found((line % "null").encode())
