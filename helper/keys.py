"""Devices and their keys: everything of an epoch is derived from a random root of its own.

Holds the master secret, under which the roots are stored (XChaCha20-Poly1305), so that the store alone opens nothing
and neither does the master alone. Adversary: the cloud and any set of devices, and whoever steals one of the two;
one device's secret tells nothing of another's or of a root (HKDF, `wire.keys`). An epoch that ends loses its root:
what was encrypted to it can then be opened by nobody, the helper included, once the store has no copy left. The
public key of an epoch is made once, stored, and handed out at provisioning only: never taken from or sent over
MQTT. A new epoch makes the older ones `draining` (pictures on their way are still answered); `retire` ends them,
`revoke` ends all. The master's file is readable by its owner alone, or refused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nacl.exceptions
from nacl import bindings

from blindsight.he.secret.ingest import SecretKey, public_key
from blindsight.helper.store import open_store
from blindsight.offline.cursor import write_durably
from blindsight.service.database import Place, Row, Transaction
from blindsight.service.secretfile import SecretError, as_kept, read_secret
from blindsight.wire import keys
from blindsight.wire.blocks import Mode


class KeyFault(Exception):
    """The key material cannot be used, or the register cannot do that; one line that names the fix."""


@dataclass(frozen=True)
class Provision:
    """What goes into a device, once: `secret` (32 bytes) and `public_key` (pk.bin, 3,360 bytes)."""

    device: str
    epoch: int
    secret: bytes = field(repr=False)
    public_key: bytes


@dataclass(frozen=True)
class DeviceKeys:
    """The helper's half of one device's keys in one epoch."""

    device: str
    manifest_key: bytes = field(repr=False)
    aes_key: bytes = field(repr=False)
    result_base: bytes = field(repr=False)
    rlwe_seed: bytes = field(repr=False)
    shared_seed: bytes = field(repr=False)

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
    """The 32 bytes of the master's file, opened where it is sealed (`blindsight keys seal`)."""
    try:
        return read_secret(path, keys.KEY_BYTES)
    except OSError as error:
        raise KeyFault(f"{path}: {error.strerror}; `blindsight keys init` makes one") from None
    except SecretError as error:
        raise KeyFault(str(error)) from None


class Keys:
    """The register. One object, and one database connection, a thread.

    `master_file`: where a master that was changed meanwhile (`change_master`) is read anew.
    """

    def __init__(self, master: bytes, place: Place, master_file: Path | None = None) -> None:
        self._master, self._file = master, master_file
        self._db = open_store(place)

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    def provision(self, device: str, fleet: bool = False) -> Provision:
        """Enrols a device, or begins its next epoch; the former one drains. `fleet`: under the shared fleet
        key.
        """
        keys.check_device(device)
        with self._db.transaction("register") as db:
            self._settle(db)
            row = db.execute("SELECT max(epoch) AS n FROM devices WHERE device = ?", (device,)).fetchone()
            epoch = 0 if row["n"] is None else row["n"] + 1
            root = self._new_root(db, device, epoch)
            public = public_key(self._rlwe_seed(root, device, epoch, fleet, db))
            ids = (keys.key_id_public(public), keys.key_id_epoch(device, epoch))
            query = "UPDATE devices SET state = 'draining', since = ? WHERE device = ? AND state = 'active'"
            db.execute(query, (self._db.now(), device))
            db.execute(
                "INSERT INTO devices (device, epoch, state, fleet, public_key, key_id_rlwe, key_id_epoch, since)"
                " VALUES (?, ?, 'active', ?, ?, ?, ?, ?)",
                (device, epoch, int(fleet), public, *ids, self._db.now()),
            )
        return Provision(device, epoch, keys.device_secret(root, device, epoch), public)

    def current(self, device: str) -> Provision:
        """What the device's active epoch was provisioned with, to write its files again."""
        query = "SELECT * FROM devices WHERE device = ? AND state = 'active'"
        row = self._db.row(query, device)
        if row is None:
            raise KeyFault(f"device {device} has no active key; `blindsight keys device {device}`")
        secret = keys.device_secret(self._root(device, row["epoch"]), device, row["epoch"])
        return Provision(device, row["epoch"], secret, row["public_key"])

    def retire(self, device: str) -> int:
        """Ends the draining epochs of a device and destroys their keys; returns how many."""
        return self._end(device, "state = 'draining'")

    def revoke(self, device: str) -> int:
        """Ends every epoch of a device and destroys their keys; returns how many."""
        count = self._end(device, "state != 'ended'")
        if not count:
            raise KeyFault(f"device {device} has no key to revoke")
        return count

    def _end(self, device: str, which: str) -> int:
        with self._db.transaction("register") as db:
            query = f"UPDATE devices SET state = 'ended', since = ? WHERE device = ? AND {which}"
            count = db.execute(query, (self._db.now(), device)).rowcount
            ended = "SELECT epoch FROM devices WHERE device = ? AND state = 'ended'"
            db.execute(f"DELETE FROM roots WHERE device = ? AND epoch IN ({ended})", (device, device))
            if db.execute("SELECT 1 FROM devices WHERE fleet = 1 AND state != 'ended'").fetchone() is None:
                db.execute("DELETE FROM roots WHERE device = ?", (keys.FLEET,))
        self._db.scrub()
        return count

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

    def find(self, device: str, mode: Mode, key_id: bytes) -> list[DeviceKeys]:
        """The keys that `key_id` names, if they are this device's and not ended; several where epochs of a
        fleet's device share the lattice key.
        """
        column = "key_id_rlwe" if mode is Mode.RLWE else "key_id_epoch"
        query = f"SELECT * FROM devices WHERE device = ? AND {column} = ? AND state != 'ended'"
        out = []
        for row in self._db.rows(query, device, key_id):
            root = self._root(device, row["epoch"])
            secret = keys.device_secret(root, device, row["epoch"])
            out.append(
                DeviceKeys(
                    device,
                    keys.manifest_key(secret),
                    keys.aes_key(secret),
                    keys.result_base(secret),
                    self._rlwe_seed(root, device, row["epoch"], bool(row["fleet"])),
                    keys.shared_rlwe_seed(secret),
                )
            )
        return out

    def change_master(self) -> int:
        """Draws a new master, stores every root under it, and replaces the file, sealed if it was; returns how many roots.

        A running helper reads the file anew. Killed at any point, one of the two files opens the roots.
        """
        assert self._file is not None
        fresh = os.urandom(keys.KEY_BYTES)
        with self._db.transaction("register") as db:
            self._settle(db)
            rows = db.execute("SELECT * FROM roots").fetchall()
            write_durably(_next(self._file), as_kept(self._file, fresh))
            for row in rows:
                where = (row["device"], row["epoch"])
                sealed = _seal(fresh, *where, self._open(row))
                db.execute("UPDATE roots SET sealed = ? WHERE device = ? AND epoch = ?", (sealed, *where))
        with self._db.transaction("register") as db:
            self._settle(db)
        self._master = fresh
        self._db.scrub()
        return len(rows)

    def _settle(self, db: Transaction) -> None:
        """Ends a change of the master that was cut off: the new file takes the old one's place if the roots are
        under it, else it goes. The register's lock is held, so no change is under way.
        """
        if self._file is None or not _next(self._file).exists():
            return
        fresh, row = read_master(_next(self._file)), db.execute("SELECT * FROM roots").fetchone()
        try:
            if row is not None:
                _unseal(fresh, row)
        except nacl.exceptions.CryptoError:
            _next(self._file).unlink()
            return
        os.replace(_next(self._file), self._file)
        self._master = fresh

    def _new_root(self, db: Transaction, device: str, epoch: int) -> bytes:
        root = os.urandom(keys.KEY_BYTES)
        db.execute(
            "INSERT INTO roots VALUES (?, ?, ?)", (device, epoch, _seal(self._master, device, epoch, root))
        )
        return root

    def _root(self, device: str, epoch: int) -> bytes:
        row = self._db.row("SELECT * FROM roots WHERE device = ? AND epoch = ?", device, epoch)
        if row is None:
            raise KeyFault(f"the keys of {device}, epoch {epoch}, are destroyed")
        return self._open(row)

    def _open(self, row: Row) -> bytes:
        for master in self._masters():
            with contextlib.suppress(nacl.exceptions.CryptoError):
                root = _unseal(master, row)
                self._master = master
                return root
        raise KeyFault(f"the master secret does not open the keys of {row['device']}: it is another site's")

    def _masters(self) -> Iterator[bytes]:
        """The master at hand; where that does not open, what the files hold by now (a sealed one takes a second)."""
        yield self._master
        for file in () if self._file is None else (self._file, _next(self._file)):
            if file.exists():
                yield read_master(file)

    def _rlwe_seed(
        self, root: bytes, device: str, epoch: int, fleet: bool, db: Transaction | None = None
    ) -> bytes:
        if not fleet:
            return keys.rlwe_secret_seed(root, device, epoch)
        # One key for the whole fleet must not change with a device's own epochs.
        row = self._db.row("SELECT * FROM roots WHERE device = ?", keys.FLEET)
        if row is not None:
            return keys.rlwe_secret_seed(self._open(row), keys.FLEET, 0)
        if db is None:
            raise KeyFault("the fleet's key is destroyed")
        return keys.rlwe_secret_seed(self._new_root(db, keys.FLEET, 0), keys.FLEET, 0)


def _next(file: Path) -> Path:
    return file.with_name(file.name + ".new")


def _seal(master: bytes, device: str, epoch: int, root: bytes) -> bytes:
    nonce = os.urandom(bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
    key, about = keys.roots_key(master), f"{device} {epoch}".encode()
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(root, about, nonce, key)


def _unseal(master: bytes, row: Row) -> bytes:
    size = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
    key, about, sealed = keys.roots_key(master), f"{row['device']} {row['epoch']}".encode(), row["sealed"]
    return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[size:], about, sealed[:size], key)
