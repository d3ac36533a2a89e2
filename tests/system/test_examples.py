"""Every example and the notebook run as they stand, and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "board_cost.py": r"esp32-c3 .* s .* mJ .* days",
    "classify.py": r"cat \(in truth cat\): .* ms, [\d,]+ bytes, \d+ rounds",
    "own_network.py": r"secure: digit (\d); the open network says digit \1",
    "send_over_mqtt.py": r"Ankle boot \(class 9\): .* s, [\d,]+ bytes sent",
    "slow_line.py": r"20 Mbit/s, 120 ms: 7, 2; [\d.]+ s a picture, \d+ rounds",
}


def test_all_are_listed() -> None:
    files = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
    assert files == sorted(EXPECTED)
    readme = (ROOT / "examples" / "README.md").read_text()
    for name in files:
        assert f"]({name})" in readme
        assert len((ROOT / "examples" / name).read_text().splitlines()) < 80


@pytest.mark.parametrize("name", EXPECTED)
def test_example(name: str, tmp_path: Path) -> None:
    """From another folder, warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name)], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(EXPECTED[name], done.stdout), done.stdout
    assert list(tmp_path.iterdir()) == []


def test_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs from top to bottom; its answers agree with the labels it prints, its figures are drawn."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    path = ROOT / "notebooks" / "first_steps.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit the notebook without its outputs"
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    text = "".join(out.get("text", "") for out in outputs)
    assert "Ankle boot   in truth Ankle boot" in text and "days on 2,000 mAh" in text
    assert sum("image/png" in out.get("data", {}) for out in outputs) == 2
