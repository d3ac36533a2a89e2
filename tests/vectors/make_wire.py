"""Known answers of docs/wire.md sections 4 and 5: manifests and messages to the device.

Plain struct packing from the tables of docs/wire.md, sharing no line with `blindsight.wire` or the firmware.
`python tests/vectors/make_wire.py` rewrites `wire_messages.json` from `device_keys.json` and
`device_picture.json`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

HERE = Path(__file__).parent
MODES = {"rlwe": 0, "rlwe-sk": 1, "aes": 2}


def _str8(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _hkdf(ikm: bytes, info: bytes) -> bytes:
    return hmac.digest(hmac.digest(bytes(32), ikm, "sha256"), info + b"\x01", "sha256")


def manifest(keys: dict[str, Any], picture: dict[str, Any], image: bytes, model: str, plan: bytes) -> bytes:
    """The whole manifest, HMAC included."""
    side, channels = (32, 3) if len(picture["pixels"]) == 2 * 3072 else (28, 1)
    key_id = keys["key_id_rlwe" if picture["mode"] == "rlwe" else "key_id_secret"]
    body = b"BSM\x01" + bytes([MODES[picture["mode"]], channels // 3])
    body += _str8(keys["device"]) + image + _str8(model) + plan + bytes.fromhex(key_id)
    body += struct.pack("<HHBBH", side, side, channels, picture["polys_per_block"], len(picture["blocks"]))
    body += bytes.fromhex(picture["nonce"])
    body += b"".join(map(bytes.fromhex, picture["commitments"] + picture["c1_hashes"]))
    return body + hmac.digest(bytes.fromhex(keys["manifest_key"]), body, "sha256")


def answer(
    keys: dict[str, Any], picture: dict[str, Any], image: bytes, data: bytes, plan: bytes
) -> dict[str, Any]:
    """A sealed share and the result message that carries it."""
    base = bytes.fromhex(picture["key_bytes"] or keys["result_base"])
    digest = hashlib.sha256(data).digest()
    key = _hkdf(base, b"blindsight/1 result" + _str8(keys["device"]) + image + digest)
    attempt, reveal = 7, 0 if picture["mode"] != "aes" else 2
    label, count = 3, 1 if reveal == 0 else 10
    helper = [(0x9E3779B9 * (i + 1)) & 0xFFFFFFFF for i in range(count)]
    values = [label] if reveal == 0 else [(1 << 32) - 4096, *range(100, 109)]
    cloud = [(v - h) & 0xFFFFFFFF for v, h in zip(values, helper, strict=True)]
    aad = (
        b"blindsight/1 result"
        + _str8(keys["device"])
        + image
        + digest
        + plan
        + struct.pack("<BI", reveal, attempt)
    )
    nonce = hashlib.shake_128(picture["mode"].encode() + image).digest(24)
    sealed = nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(
        struct.pack(f"<{count}I", *helper), aad, nonce, key
    )
    head = struct.pack("<BBIBH", 2, 1, attempt, reveal, count)
    return {
        "result_key": key.hex(),
        "aad": aad.hex(),
        "sealed": sealed.hex(),
        "message": (head + struct.pack(f"<{count}I", *cloud) + sealed).hex(),
        "attempt": attempt,
        "reveal": reveal,
        "values": values,
        "receipt": (b"\x01\x01" + digest).hex(),
        "failure": (b"\x03\x01\x04" + _str8("quota of the day is used up")).hex(),
    }


def main() -> None:
    """Write the file."""
    keys = json.loads((HERE / "device_keys.json").read_text())
    pictures = json.loads((HERE / "device_picture.json").read_text())["pictures"]
    plan = hashlib.sha256(b"plan").digest()
    cases = []
    for i, picture in enumerate(pictures):
        image = struct.pack(">Q", i + 1) + hashlib.shake_128(bytes([i])).digest(8)
        data = manifest(keys, picture, image, "mnist", plan)
        salt = bytes.fromhex(picture["salt"])
        top = f"bs1/{keys['shard']}/{keys['device']}"
        cases.append(
            {
                "picture": i,
                "image": image.hex(),
                "model": "mnist",
                "plan_hash": plan.hex(),
                "manifest": data.hex(),
                "manifest_hash": hashlib.sha256(data).hexdigest(),
                "payload": (data + salt).hex(),
                "topics": {
                    "manifest": f"{top}/up/{image.hex()}/manifest",
                    "block0": f"{top}/up/{image.hex()}/0",
                    "down": f"{top}/down/{image.hex()}",
                },
                **answer(keys, picture, image, data, plan),
            }
        )
    text = json.dumps(
        {"keys_of": "device_keys.json", "pictures_of": "device_picture.json", "cases": cases}, indent=1
    )
    (HERE / "wire_messages.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
