"""Devices and their keys: everything is derived from one master secret, the device id and an epoch.

Holds the master secret. Adversary: the cloud and any set of devices; one device's secret tells nothing of
another's or of the master (HKDF, `wire.keys`). The public key of an epoch is made once, stored, and handed
out at provisioning only: never taken from or sent over MQTT. A new epoch makes the older ones `draining`
(pictures on their way are still answered); `retire` ends them, `revoke` ends all. The master's file is
readable by its owner alone, or refused.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from blindsight.he.secret.ingest import SecretKey, public_key
from blindsight.offline.cursor import write_durably
from blindsight.service.database import Database
from blindsight.wire import keys
from blindsight.wire.blocks import Mode

SCHEMA = """
CREATE TABLE IF NOT EXISTS devices (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, state TEXT NOT NULL, fleet INTEGER NOT NULL,
    public_key BLOB NOT NULL, key_id_rlwe BLOB NOT NULL, key_id_epoch BLOB NOT NULL, since REAL NOT NULL,
    PRIMARY KEY (device, epoch))
"""


class KeyFault(Exception):
    """The key material cannot be used, or the register cannot do that; one line that names the fix."""


@dataclass(frozen=True)
class Provision:
    """What goes into a device, once: `secret` (32 bytes) and `public_key` (pk.bin, 3,360 bytes)."""

    device: str
    epoch: int
    secret: bytes
    public_key: bytes


@dataclass(frozen=True)
class DeviceKeys:
    """The helper's half of one device's keys in one epoch."""

    device: str
    manifest_key: bytes
    aes_key: bytes
    result_base: bytes
    rlwe_seed: bytes
    shared_seed: bytes

    def secret_key(self, mode: Mode) -> SecretKey:
        """The RLWE secret of a lattice mode."""
        return SecretKey(self.rlwe_seed if mode is Mode.RLWE else self.shared_seed)


def new_master(path: Path) -> None:
    """Draws a master secret into a new file of mode 0600; an existing one is never replaced."""
    if path.exists():
        raise KeyFault(
            f"{path} exists; a new master would orphan every device: remove it by hand if you mean it"
        )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(path, os.urandom(keys.KEY_BYTES))


def read_master(path: Path) -> bytes:
    """The 32 bytes of the master's file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()
    except OSError as error:
        raise KeyFault(f"{path}: {error.strerror}; `blindsight keys init` makes one") from None
    if mode & 0o077:
        raise KeyFault(f"{path} is open to others (mode {mode:o}); chmod 600 {path}")
    if len(data) != keys.KEY_BYTES:
        raise KeyFault(f"{path} holds {len(data)} bytes, not {keys.KEY_BYTES}")
    return data


class Keys:
    """The register. One object, and one database connection, a thread."""

    def __init__(self, master: bytes, database: Path) -> None:
        self._master = master
        self._db = Database(database, SCHEMA)

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    def provision(self, device: str, fleet: bool = False) -> Provision:
        """Enrols a device, or begins its next epoch; the former one drains. `fleet`: under the shared fleet
        key.
        """
        keys.check_device(device)
        row = self._db.row("SELECT max(epoch) AS n FROM devices WHERE device = ?", device)
        epoch = 0 if row is None or row["n"] is None else row["n"] + 1
        return self._enter(device, epoch, fleet)

    def _enter(self, device: str, epoch: int, fleet: bool) -> Provision:
        public = public_key(self._rlwe_seed(device, epoch, fleet))
        ids = (keys.key_id_public(public), keys.key_id_epoch(device, epoch))
        with self._db.transaction() as db:
            query = "UPDATE devices SET state = 'draining', since = ? WHERE device = ? AND state = 'active'"
            db.execute(query, (time.time(), device))
            db.execute(
                "INSERT INTO devices VALUES (?, ?, 'active', ?, ?, ?, ?, ?)",
                (device, epoch, int(fleet), public, *ids, time.time()),
            )
        return Provision(device, epoch, keys.device_secret(self._master, device, epoch), public)

    def current(self, device: str) -> Provision:
        """What the device's active epoch was provisioned with, to write its files again."""
        query = "SELECT * FROM devices WHERE device = ? AND state = 'active'"
        row = self._db.row(query, device)
        if row is None:
            raise KeyFault(f"device {device} has no active key; `blindsight keys device {device}`")
        secret = keys.device_secret(self._master, device, row["epoch"])
        return Provision(device, row["epoch"], secret, row["public_key"])

    def retire(self, device: str) -> int:
        """Ends the draining epochs of a device; returns how many."""
        return self._end(device, "state = 'draining'")

    def revoke(self, device: str) -> int:
        """Ends every epoch of a device; returns how many."""
        count = self._end(device, "state != 'ended'")
        if not count:
            raise KeyFault(f"device {device} has no key to revoke")
        return count

    def _end(self, device: str, which: str) -> int:
        with self._db.transaction() as db:
            query = f"UPDATE devices SET state = 'ended', since = ? WHERE device = ? AND {which}"
            return db.execute(query, (time.time(), device)).rowcount

    def devices(self) -> list[dict[str, object]]:
        """The register without secrets: device, epoch, state, key ids."""
        return [
            {
                "device": r["device"],
                "epoch": r["epoch"],
                "state": r["state"],
                "fleet": bool(r["fleet"]),
                "key_id": r["key_id_rlwe"].hex(),
                "key_id_epoch": r["key_id_epoch"].hex(),
            }
            for r in self._db.rows("SELECT * FROM devices ORDER BY device, epoch")
        ]

    def find(self, device: str, mode: Mode, key_id: bytes) -> DeviceKeys | None:
        """The keys that `key_id` names, if they are this device's and not ended."""
        column = "key_id_rlwe" if mode is Mode.RLWE else "key_id_epoch"
        row = self._db.row(
            f"SELECT * FROM devices WHERE device = ? AND {column} = ? AND state != 'ended'", device, key_id
        )
        if row is None:
            return None
        secret = keys.device_secret(self._master, device, row["epoch"])
        return DeviceKeys(
            device,
            keys.manifest_key(secret),
            keys.aes_key(secret),
            keys.result_base(secret),
            self._rlwe_seed(device, row["epoch"], bool(row["fleet"])),
            keys.shared_rlwe_seed(secret),
        )

    def _rlwe_seed(self, device: str, epoch: int, fleet: bool) -> bytes:
        # One key for the whole fleet must not change with a device's own epochs.
        return keys.rlwe_secret_seed(self._master, *((keys.FLEET, 0) if fleet else (device, epoch)))
