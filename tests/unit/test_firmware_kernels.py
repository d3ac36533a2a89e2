"""The firmware's lattice arithmetic and key derivations, under MicroPython, byte for byte the known answers."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MICROPYTHON = Path(sys.executable).with_name("micropython")
APP = ROOT / "device_fw" / "app"
SCRIPTS = Path(__file__).parent / "firmware_scripts"


def _run(script: str, *args: object) -> str:
    command = [MICROPYTHON, "-X", "heapsize=32m", SCRIPTS / script, APP, *args]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_known_answers(tmp_path: Path) -> None:
    """Streams, samplers, NTT, the three modes, whole pictures with commitments, every derived key."""
    assert _run("vectors.py", ROOT / "tests" / "vectors", tmp_path) == "ok\n"


def test_kernels_against_integers() -> None:
    assert _run("kernels.py") == "ok\n"


def test_cameras(tmp_path: Path) -> None:
    assert _run("cameras.py", tmp_path) == "ok\n"
