"""Gives a board its identity: settings, device secret, the helper's public key, the broker's authority, Wi-Fi.

The device directory comes from whoever runs the helper (`blindsight keys device`). Adversary: none on the serial line,
which is a cable on the desk; the secret crosses it in the clear, is never printed, and rests in the board's flash
unencrypted. Pinned here, never over MQTT: public key and authority.

Files are staged in /bs.new, checked by the board, then renamed with config.json last and the former config.json removed
first: pulled at any moment, the board has its old identity, its new one, or none (and then says so and does not start).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.hw.inventory import Inventory
from blindsight.hw.link import Link

OWN = {"boot.0", "boot.1", "state.json"}  # written by the device, never touched
SIZES = {"secret.bin": 32, "pk.bin": 3360}
LAST = "config.json"
LIMIT = 1 << 20


class ProvisionError(Exception):
    """Provisioning was refused; one line that names the fix."""


@dataclass(frozen=True)
class Provisioned:
    """`changed`: the files that differ (written, or to be written under `dry_run`)."""

    device: str
    changed: list[str]
    fingerprint: str
    dry_run: bool
    row: dict[str, Any]


def read_directory(folder: Path) -> dict[str, bytes]:
    """The files of a device directory that go to a board, checked."""
    if not (folder / LAST).is_file():
        raise ProvisionError(
            f"{folder} holds no {LAST}: make it with `blindsight keys device NAME --site SITE`"
        )
    files = {
        p.name: p.read_bytes() for p in sorted(folder.iterdir())
        if p.is_file() and p.name not in OWN and not p.name.endswith((".new", ".part"))
    }  # fmt: skip
    for name, size in SIZES.items():
        if name not in files and name == "pk.bin":
            continue
        if len(files.get(name, b"")) != size:
            raise ProvisionError(
                f"{folder / name} must hold {size} bytes: make the directory again with `blindsight keys device`"
            )
    if sum(map(len, files.values())) > LIMIT:
        raise ProvisionError(f"{folder} holds over 1 MiB: leave only what the device needs")
    return files


def settings_of(files: dict[str, bytes], folder: Path) -> dict[str, Any]:
    """config.json of the directory, checked as far as provisioning needs it."""
    try:
        config = json.loads(files[LAST])
        if not isinstance(config["device"], str) or not isinstance(config["broker"]["host"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ProvisionError(
            f"{folder / LAST} is not the settings of a device: make it again with `blindsight keys device`"
        ) from None
    if config.get("mode") == "rlwe" and "pk.bin" not in files:
        raise ProvisionError(
            f"{folder} has no pk.bin, which mode rlwe needs: make it again with `blindsight keys device`"
        )
    broker, device = config["broker"], config["device"]
    for name in (broker.get(k) for k in ("ca", "certificate", "key")):
        if name and str(name) not in files:
            raise ProvisionError(
                f"{folder} has no {name}, which its {LAST} names: `blindsight keys certificate {device}` makes a device's "
                "certificate where the broker's authority is"
            )
    if broker.get("user") and "password" not in broker:
        raise ProvisionError(
            f"{folder / LAST} has no password for the broker: `blindsight keys account {device}` writes it where the "
            "accounts are"
        )
    return dict(config)


def fingerprint(public_key: bytes) -> str:
    """What two people compare: SHA-256 of pk.bin in groups of four hex digits."""
    text = hashlib.sha256(public_key).hexdigest()
    return " ".join(text[i : i + 4] for i in range(0, 64, 4))


def provision(
    link: Link, folder: Path, inventory: Inventory, wifi: dict[str, str] | None = None, dry_run: bool = False,
    replace: bool = False, update_key: bytes | None = None, settings: dict[str, Any] | None = None,
) -> Provisioned:  # fmt: skip
    """Writes what differs, and the inventory's row; twice is the same as once.

    Args:
        wifi: `ssid` and `password`, kept in the board's config.json.
        replace: let the board, or the device id, change hands.
        update_key: 32-byte Ed25519 key whose updates the board accepts.
        settings: more lines of config.json, e.g. `camera` or `interval_s`.

    What `wifi` and `settings` gave once stays on the board until they give something else: config.json lists it under
    `local`.
    """
    files = read_directory(folder)
    config = settings_of(files, folder)
    device = config["device"]
    if update_key is not None:
        if len(update_key) != 32:
            raise ProvisionError("an update key is 32 bytes: make it with `blindsight hw update-key`")
        files["update.pub"] = update_key
    print_ = fingerprint(files.get("pk.bin", b""))
    board = link.inspect("/bs", "/bs.new", read=("/bs/config.json", "/bs.new/config.json"))
    _check_owner(board, device, inventory, replace)
    local = _local(board, device) | (settings or {}) | ({"wifi": wifi} if wifi else {})
    if local:
        config |= local | {"local": sorted(local)}
    files[LAST] = json.dumps(config, indent=1).encode()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    changed = sorted(n for n, h in hashes.items() if board["files"].get(f"/bs/{n}") != h)
    fields = {
        "epoch": config.get("epoch", 0), "mode": config.get("mode"), "board_uid": board["uid"],
        "platform": board["platform"], "port": link.port, "pk_sha256": hashes.get("pk.bin"),
        "config_sha256": hashes[LAST], "broker": config["broker"]["host"],
    }  # fmt: skip
    row = inventory.rows().get(device, {})
    if dry_run:
        return Provisioned(device, changed, print_, True, row | fields)
    if changed:
        inventory.write(device, **fields, state="writing")
        # secrets change only while there is no config.json, so it comes again with them, last
        staged = sorted({*changed, LAST}, key=lambda n: (n == LAST, n))
        link.put({f"/bs.new/{n}": files[n] for n in staged}, "sending the identity")
        link.commit(
            "writing the identity",
            {f"/bs.new/{n}": hashes[n] for n in staged},
            remove=([] if staged == [LAST] else [f"/bs/{LAST}"])
            + [p for p in board["files"] if p.startswith("/bs.new/") and p[8:] not in staged],
            moves=[(f"/bs.new/{n}", f"/bs/{n}") for n in staged],
        )
    if changed or row.get("state") != "ready" or any(row.get(k) != v for k, v in fields.items()):
        row = inventory.write(device, **fields, state="ready")
    return Provisioned(device, changed, print_, False, row)


def _on_board(board: dict[str, Any], name: str = "/bs/config.json") -> dict[str, Any]:
    try:
        found = json.loads(board["read"].get(name, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _local(board: dict[str, Any], device: str) -> dict[str, Any]:
    """The settings that former provisionings of this device gave beside its directory."""
    now = _on_board(board) or _on_board(board, "/bs.new/config.json")  # the second where a writing was cut
    return {n: now[n] for n in now.get("local", []) if n in now} if now.get("device") == device else {}


def _check_owner(board: dict[str, Any], device: str, inventory: Inventory, replace: bool) -> None:
    holds = _on_board(board).get("device", device)
    if holds != device and not replace:
        raise ProvisionError(f"this board is {holds}: add --replace to make it {device}")
    known = inventory.rows().get(device, {}).get("board_uid")
    if known and board["uid"] and known != board["uid"] and not replace:
        raise ProvisionError(
            f"{device} is another board ({known}): two boards under one identity leak pictures; begin its next epoch "
            "with `blindsight keys device`, then add --replace"
        )
