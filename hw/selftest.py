"""Known answers on the board itself, with time and heap of every stage (board/selftest.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blindsight.hw.deploy import STATE_FILES, state_of
from blindsight.hw.link import Link, LinkError

KNOWN = Path(__file__).resolve().parent / "board" / "known.json"


def known() -> dict[str, str]:
    """Mode -> SHA-256 of the bytes a device sends for the test picture; held against the C core by the tests."""
    found: dict[str, str] = json.loads(KNOWN.read_text())
    return found


def selftest(link: Link) -> dict[str, Any]:
    """Runs it: `passed` (all known answers), `wrong` modes, and what the board reports (`version`, `results`, `cores`,
    `stages` with us and heap bytes, `random`, `free`, `provisioned`).
    """
    state = state_of(link.inspect(read=STATE_FILES))
    if state.get("active", "none") == "none":
        raise LinkError(f"{link.port}: no application on this board: run `blindsight hw deploy {link.port}`")
    answers = known()
    found = link.call("selftest", "running the self-test", seconds=300, slot=state["active"], known=answers)
    wrong = sorted(mode for mode, expected in answers.items() if found["results"].get(mode) != expected)
    ok = not wrong and not found["random"]["repeats"]
    return {"passed": ok, "wrong": wrong, **found}
