"""Nothing secret in a log, a store, material or on standard error: planted patterns are looked for in every file of both
services and of the broker.

The services run as processes on real Mosquitto (with the insecure engine of the tests; the files of the real one are
searched in `test_hostile_peer.py`). Looked for as raw bytes, hexadecimal and base64, whole and in part: pixels, the helper's
master, the epoch's root, device secrets and what is derived from them, result keys, broker passwords. Salts may be in the
cloud's store and the broker's, and nowhere else.
"""

import base64
import secrets as random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
import service_kit as kit

from blindsight.wire import keys, topics
from blindsight.wire.blocks import Mode


def forms(secret: bytes) -> list[bytes]:
    """How a secret could have been written down: any 12 bytes of it or more, wherever a base64 text starts."""
    out = []
    for start in range(len(secret) - 11):
        part = secret[start : start + 12]
        out += [part, part.hex().encode(), part.hex().upper().encode(), base64.b64encode(part)]
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


def written(secret: bytes) -> dict[str, bytes]:
    """How a careless program would have written it, base64 beginning at any byte."""
    return {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        **{f"base64, {n} before": base64.b64encode(b"?" * n + secret) for n in range(3)},
        "repr": repr(secret).encode(),
        "a part": secret[1:-1].hex().encode(),
    }


def leaked(folder: Path, secrets: dict[str, bytes]) -> None:
    """The control of a search: each secret in each form, in a line of a scratch log, is found, and by its name alone."""
    for name, secret in secrets.items():
        for form, text in written(secret).items():
            log = folder / "scratch.log"
            log.write_bytes(b'{"event": "run", "detail": "' + text + b'"}\n')
            assert f"scratch.log: {name}" in find(folder, secrets, set()), f"{name}, {form}"
            log.write_bytes(b'{"event": "run", "detail": ""}\n')
            assert find(folder, secrets, set()) == []


def test_the_search_finds_what_is_planted(tmp_path: Path) -> None:
    """A control of the test itself."""
    leaked(tmp_path, {"s": bytes(range(100, 132)), "short": bytes(range(40, 56))})


@contextmanager
def site(folder: Path, passwords: dict[str, bytes]) -> Iterator[kit.Site]:
    """As `kit.site`, on a broker that lets in these accounts alone."""
    port, accounts = kit.free_port(), folder / "broker" / "accounts"
    accounts.parent.mkdir()
    accounts.touch(0o600)
    for user, password in passwords.items():
        subprocess.run(["mosquitto_passwd", "-b", accounts, user, password.decode()], check=True)
    broker = kit.mosquitto(accounts.parent, port, f"allow_anonymous false\npassword_file {accounts}")
    place = kit.Site(folder, port)
    (folder / "cloud" / "broker.password").write_bytes(passwords["cloud"])
    (folder / "cloud" / "broker.password").chmod(0o600)
    settings = folder / "cloud.toml"
    account = '[broker]\nuser = "cloud"\npassword_file = "cloud/broker.password"\n'
    settings.write_text(settings.read_text().replace("[broker]\n", account))
    try:
        place.start().cloud.until("subscribed")
        yield place
    finally:
        kit.stop_all(broker, place.helper, place.cloud)


def of_the_register(place: kit.Site, device: kit.Device) -> dict[str, bytes]:
    """What the helper's register holds or derives, from the register itself: what is really in use."""
    epoch, register = device.provision.epoch, place.register()
    try:
        (found,) = register.find(device.name, Mode.AES, keys.key_id_epoch(device.name, epoch))
        root = register._root(device.name, epoch)
    finally:
        register.close()
    secret = device.provision.secret
    assert keys.device_secret(root, device.name, epoch) == secret and found.aes_key == keys.aes_key(secret)
    master = kit.read_master(place.folder / "helper" / "master.key")
    return {
        "master": master,
        "key of the roots": keys.roots_key(master),
        "root": root,
        "device secret": secret,
        "manifest key": found.manifest_key,
        "aes key": found.aes_key,
        "result base": found.result_base,
        "rlwe seed": found.rlwe_seed,
        "shared seed": found.shared_seed,
    }


SEARCHED = {"cloud.log", "helper.log", "mosquitto.log", "cloud.db", "helper.db", "cursor"}
BY_DESIGN = {"master.key", "broker.password"}  # hold a secret each
SALTS = {"cloud.db", "cloud.db-wal", "cloud.db-shm", "mosquitto.db"}  # the cloud's, until the answer


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_no_log_and_no_store_holds_a_secret(tmp_path: Path, mode: str) -> None:
    passwords = {user: random.token_urlsafe(24).encode() for user in ("cloud", "cam-1")}
    with site(tmp_path, passwords) as place:
        device = place.device("cam-1", mode)
        secrets = of_the_register(place, device) | {f"password of {u}": p for u, p in passwords.items()}
        client = kit.Client(device.name, place.broker_port, account=("cam-1", passwords["cam-1"].decode()))
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
        while_running = find(tmp_path, secrets, BY_DESIGN)
    assert while_running == []
    assert find(tmp_path, secrets, BY_DESIGN) == []
    salts = {f"salt {n}": p.salt for n, p in enumerate((good, forged, other, broken, waiting))}
    assert find(tmp_path, salts, SALTS) == []
    assert {p.name for p in tmp_path.rglob("*")} >= SEARCHED, "the files that were to be searched are there"
    logs = (tmp_path / "cloud.log").read_text() + (tmp_path / "helper.log").read_text()
    assert "refused" in logs, "the errors were met"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    leaked(scratch, secrets | salts)
