"""The firmware opens what libsodium sealed and refuses everything else."""

import os
import subprocess
import sys
from pathlib import Path

from nacl import bindings

ROOT = Path(__file__).parents[2]


def test_open_sealed(tmp_path: Path) -> None:
    cases, want = [], []
    for n in (0, 4, 15, 16, 17, 64, 100, 4000):
        key, nonce, aad, plain = os.urandom(32), os.urandom(24), os.urandom(131 + n % 7), os.urandom(n)
        sealed = nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, aad, nonce, key)
        cases.append((key, sealed, aad))
        want.append("x" + plain.hex())
        for i in (0, 23, 24, len(sealed) - 17, len(sealed) - 1):  # nonce, body or tag touched
            cases.append((key, sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :], aad))
        cases += [(key, sealed, aad + b"\x00"), (key, sealed[:-1], aad), (key[::-1], sealed, aad)]
        want += ["refused"] * 8
    cases.append((bytes(32), bytes(39), b""))
    want.append("refused")
    text = "".join(" ".join("x" + v.hex() for v in case) + "\n" for case in cases)
    (tmp_path / "cases").write_text(text)
    script = Path(__file__).parent / "firmware_scripts" / "opening.py"
    micropython = Path(sys.executable).with_name("micropython")
    command = [
        str(micropython),
        "-X",
        "heapsize=2m",
        str(script),
        str(ROOT / "device_fw/app"),
        str(tmp_path / "cases"),
    ]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert lines == want
