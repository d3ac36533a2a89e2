"""Nothing secret in a log, a store or on standard error: planted patterns are looked for in every file of both services.

The services run as processes on real Mosquitto (with the insecure engine of the tests, which stores nothing of its own).
Looked for as raw bytes, hexadecimal and base64, whole and in part: pixels, the helper's master, device secrets and what is
derived from them, result keys, broker passwords.
"""

import base64
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
import service_kit as kit

from blindsight.wire import keys, topics


def forms(secret: bytes) -> list[bytes]:
    """How a secret could have been written down: 12 bytes of it or more, from any offset a base64 text may start at."""
    out = []
    for start in range(0, len(secret) - 11, 4):
        part = secret[start : start + 12]
        out += [part, part.hex().encode(), part.hex().upper().encode(), base64.b64encode(part)]
    for shift in (1, 2):
        out.append(base64.b64encode(secret[shift : shift + 12]))
    out.append(repr(secret).encode()[2:-1])
    return out


def find(folder: Path, secrets: dict[str, bytes], allowed: set[str]) -> list[str]:
    """`file: secret` for every hit outside the files that hold a secret by design."""
    hits = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in allowed):
        data = path.read_bytes()
        hits += [
            f"{path.relative_to(folder)}: {name}"
            for name, s in secrets.items()
            if any(f in data for f in forms(s))
        ]
    return hits


def test_the_search_finds_what_is_planted(tmp_path: Path) -> None:
    """A negative control of the test itself: each form, in the middle of other bytes."""
    secret = bytes(range(100, 132))
    for number, text in enumerate(
        (secret, secret.hex().encode(), base64.b64encode(secret), repr(secret).encode())
    ):
        (tmp_path / f"f{number}").write_bytes(b"x" * 37 + text + b"y" * 11)
    assert len(find(tmp_path, {"s": secret}, set())) == 4
    assert find(tmp_path, {"other": bytes(range(32))}, set()) == []


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_no_log_and_no_store_holds_a_secret(tmp_path: Path, mode: str) -> None:
    secrets: dict[str, bytes] = {}
    with kit.site(tmp_path) as (place, _broker):
        device = place.device("cam-1", mode)
        secrets["master"] = kit.read_master(tmp_path / "helper" / "master.key")
        secret = device.provision.secret
        secrets |= {
            "device secret": secret,
            "manifest key": keys.manifest_key(secret),
            "aes key": keys.aes_key(secret),
            "shared seed": keys.shared_rlwe_seed(secret),
            "result base": keys.result_base(secret),
            "rlwe seed": keys.rlwe_secret_seed(secrets["master"], "cam-1", device.provision.epoch),
        }
        client = kit.Client(device.name, place.broker_port)
        pixels = b"".join(bytes([17 * i % 251, 29 * i % 241, 7, 201]) for i in range(64))
        good = device.picture(pixels)
        secrets |= {"pixels": pixels, "result key": good.result_key}
        client.send(good)
        assert client.wait(good) is not None
        # and everything that ends in an error: a forged manifest, a bad block, noise, an unknown model, a revoked key
        forged = device.picture(pixels, key=bytes(32))
        other = device.picture(pixels, plan_hash=bytes(32))
        broken = device.picture(pixels)
        broken.blocks[0] = bytes([broken.blocks[0][0] ^ 1]) + broken.blocks[0][1:]
        for parcel in (forged, other, broken):
            client.send(parcel)
        client.client.publish(topics.manifest(device.name, bytes(16)), pixels, 1)
        client.client.publish(topics.status(device.name), pixels, 1)
        client.wait(forged), client.wait(other)
        waiting = device.picture(pixels)
        place.helper.kill()  # a picture that waits while something is killed and started again
        client.send(waiting)
        client.wait(waiting, "receipt")
        place.cloud.kill()
        place.cloud.start()
        place.helper.start()
        assert client.wait(waiting, seconds=60) is not None
        client.close()
        while_running = find(tmp_path, secrets, {"master.key"})
    assert while_running == []
    assert find(tmp_path, secrets, {"master.key"}) == []
    logs = (tmp_path / "cloud.log").read_text() + (tmp_path / "helper.log").read_text()
    assert "refused" in logs, "the errors were met"
