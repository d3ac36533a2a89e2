"""Every file of the firmware is listed for installation and small enough to compile on a board."""

import json
from pathlib import Path

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
