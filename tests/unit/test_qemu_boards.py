"""Known answers and budgets of the C core on emulated boards (needs the cross compilers and QEMU of `make dev`)."""

import json
import pathlib

import pytest

from blindsight.hw.qemu import TARGETS, MeasureError, measure
from blindsight.hw.qemu.measure import _check_constant

MEASURED = pathlib.Path(__file__).parents[2] / "hw" / "measured"
BUDGET = {  # instructions for 1,024 pixels (issue 7)
    ("cortex-m4", "rlwe"): 600_000,
    ("cortex-m4", "rlwe-sk"): 300_000,
    ("cortex-m7", "rlwe"): 600_000,
    ("cortex-m7", "rlwe-sk"): 300_000,
    ("rv32imc", "rlwe"): 750_000,
    ("rv32imc", "rlwe-sk"): 400_000,
}


@pytest.mark.parametrize("name", TARGETS)
def test_board(name: str) -> None:
    """measure() itself refuses a board whose known answers differ."""
    got = measure(name)
    for mode, result in got["modes"].items():
        assert result["instructions"] <= BUDGET.get((name, mode), 2_000_000)
        assert result["ram_bytes"] <= 16 * 1024
        assert 0 < result["stack_bytes"] <= 1536
        assert sum(result["functions"].values()) == result["instructions"]
        # the stages make up the mode; the rest is message, wiping and calls
        if result["stages"]:
            assert 0.9 * result["instructions"] <= sum(result["stages"].values()) <= result["instructions"]
    assert got["code_bytes"] <= 20 * 1024 and got["static_bytes"] == 0
    assert got["same_counts_for"] == 8
    published = json.loads((MEASURED / f"{name}.json").read_text())
    if published["compiler"] == got["compiler"] and published["emulator"] == got["emulator"]:
        assert got == published, "the committed figures are stale: run python -m blindsight.hw.qemu"


def test_unknown_target() -> None:
    with pytest.raises(MeasureError, match="one of cortex-m4"):
        measure("z80")


def test_a_count_that_depends_on_a_secret_is_caught() -> None:
    runs = {s: [{"f": 5, "block": 7}, {"f": 5, "block": 7}] for s in ("vary_rlwe", "vary_sk", "vary_aes")}
    assert _check_constant("board", runs) == 2
    runs["vary_sk"][1]["block"] = 8  # the public rejections
    assert _check_constant("board", runs) == 2
    runs["vary_aes"][1]["f"] = 6
    with pytest.raises(MeasureError, match=r"f depend on secrets \(vary_aes\)"):
        _check_constant("board", runs)


def test_the_readme_shows_the_committed_figures() -> None:
    text = (MEASURED.parents[1] / "device_fw" / "rlwe" / "README.md").read_text()
    for name in TARGETS:
        published = json.loads((MEASURED / f"{name}.json").read_text())
        counts = " | ".join(f"{mode['instructions']:,}" for mode in published["modes"].values())
        ram = published["modes"]["rlwe"]["ram_bytes"]
        assert f"| {counts} | {ram:,} | {published['code_bytes']:,} |" in text, name
