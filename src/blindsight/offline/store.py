"""The material store: slots on disk, encrypted at rest, each used exactly once.

Adversary: someone who later reads the disk, a crash or power cut at any point, a backup restored behind the peer's back. Masks hide
activations, so a slot used twice, or readable after use, is a leak: with the x - r that the other server recorded it gives x.

- Burn first: `reserve` moves the durable cursor past the index before it returns a byte of the slot (`cursor.py`).
- Every slot is sealed with ChaCha20-Poly1305 under a key of its own, 32 random bytes; nonce = slot index, associated data = batch id.
  `<batch>.key` holds the keys of a batch, slot after slot. `reserve` and `jump` overwrite those of every slot below the cursor, durably,
  before they return; opening does it again, should a crash have come between. After the last slot the batch is deleted.
- Assumption: the disk overwrites in place. Flash (wear levelling), copy-on-write file systems, snapshots and backups may keep the old bytes
  of a key: there only an encrypted disk helps, and no backup may hold this folder.
- Both parties keep the same batches under the same ids; `keep_common` finds them after a crash that left one side with a batch more.
"""

import json
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from blindsight.errors import OneLine
from blindsight.offline.cursor import Cursor, read_cursor, write_durably

_KEY, _TAG = 32, 16


class StoreError(OneLine):
    """The store cannot serve the request; the message says what to do."""


@dataclass(frozen=True)
class Batch:
    """`count` slots from index `first`; `id` (32 hex digits) was agreed by both parties."""

    id: str
    first: int
    count: int


class Store:
    """One party's pool of slots for one plan and ingest kind, in the folder `path`. One process at a time opens it.

    Slots below the cursor cannot be read from the folder, by this class or by another, once a method that moved it has returned.
    A batch without one key a slot (older versions had one a batch) is burnt and deleted when the pool is opened, with all before it.

    Args:
        slot_bytes: size of a slot of this plan; None to count and purge only.
    """

    def __init__(self, path: Path, slot_bytes: int | None) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path, self._slot_bytes = path, slot_bytes
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreError(f"{path} is in use by another process: stop it first") from None
        self._cursor = Cursor(path / "cursor")
        try:
            self._batches = self._described()
            for batch in self._batches:
                if not self._has_keys(batch):  # burnt, not just deleted: no index is ever used again
                    self._cursor.burn_to(batch.first + batch.count)
            self._drop_used()
        except BaseException:
            self.close()  # the next try must not find the pool in use
            raise

    def _described(self) -> list[Batch]:
        found = []
        for path in self._path.glob("*.json"):
            try:
                found.append(_read_meta(path))
            except StoreError:
                if self._slot_bytes is not None:
                    raise
                # `purge` destroys it without knowing what it was
        return sorted(found, key=lambda b: b.first)

    # --- what is there

    @property
    def cursor(self) -> int:
        """The first index never burnt."""
        return self._cursor.next

    @property
    def batches(self) -> list[Batch]:
        return list(self._batches)

    @property
    def left(self) -> int:
        """Slots that can still be reserved."""
        return sum(max(0, b.first + b.count - max(b.first, self.cursor)) for b in self._batches)

    @property
    def end(self) -> int:
        """The first index no batch reaches: where the next batch begins."""
        return max([self.cursor, *(b.first + b.count for b in self._batches)])

    # --- production

    def append(self, batch_id: str, first: int, slots: Sequence[bytes]) -> None:
        """Add a batch made together with the peer. Durable when it returns; a crash before leaves nothing usable.

        Raises:
            StoreError: the batch overlaps another or begins below the cursor, or a slot has another size than the plan's.
        """
        if first < self.end:
            raise StoreError(f"a batch at index {first} would reuse indices below {self.end}")
        if self._slot_bytes is None or any(len(s) != self._slot_bytes for s in slots):
            raise StoreError(f"every slot of this plan holds {self._slot_bytes} bytes")
        keys = [os.urandom(_KEY) for _ in slots]
        sealed = b"".join(
            ChaCha20Poly1305(key).encrypt(_nonce(first + i), slot, batch_id.encode())
            for i, (key, slot) in enumerate(zip(keys, slots, strict=True))
        )
        batch = Batch(batch_id, first, len(slots))
        write_durably(self._path / f"{batch_id}.key", b"".join(keys))
        write_durably(self._path / f"{batch_id}.bin", sealed)
        meta = {"id": batch_id, "first": first, "count": len(slots)}
        write_durably(self._path / f"{batch_id}.json", json.dumps(meta).encode())
        self._batches.append(batch)

    # --- consumption

    def reserve(self, index: int) -> bytes:
        """Burn every slot up to and including `index`, durably, wipe their keys, then return the bytes of `index`.

        Raises:
            StoreError: the index was burnt before, or no batch holds it.
            OSError: the keys could not be wiped: the slot is burnt, its bytes are not given out.
        """
        if index < self.cursor:
            raise StoreError(
                f"slot {index} was used before (this side is at {self.cursor}): "
                "the peer's store is an old copy; purge the material on both servers"
            )
        batch = next((b for b in self._batches if b.first <= index < b.first + b.count), None)
        self._cursor.burn_to(index + 1)
        try:
            if batch is None:
                raise StoreError(f"no material at slot {index}")
            return self._open_slot(batch, index)
        finally:
            self._drop_used()

    def jump(self, to: int) -> None:
        """Burn every slot below `to` (the peer is further) and wipe their keys."""
        self._cursor.burn_to(to)
        self._drop_used()

    def keep_common(self, peer: list[tuple[str, int, int]]) -> None:
        """Drop the batches that the peer, which lists (id, first, count), does not have. Their indices may come again, with new slots."""
        for batch in list(self._batches):
            if (batch.id, batch.first, batch.count) not in peer:
                self._delete(batch)

    def purge(self) -> int:
        """Destroy all material; returns how many unused slots went."""
        left = self.left
        self._cursor.burn_to(self.end)
        self._drop_used()
        for kind in ("key", "bin", "json", "part"):
            for stray in self._path.glob(f"*.{kind}"):
                _wipe(stray)
        return left

    def close(self) -> None:
        self._cursor.close()
        os.close(self._lock)

    def _open_slot(self, batch: Batch, index: int) -> bytes:
        if self._slot_bytes is None:
            raise StoreError("this store was opened to be purged, without the size of its slots")
        place, size = index - batch.first, self._slot_bytes + _TAG
        try:
            # unbuffered: a buffer would bring the keys of other slots into memory
            with open(self._path / f"{batch.id}.key", "rb", buffering=0) as file:
                file.seek(place * _KEY)
                key = file.read(_KEY)
            with open(self._path / f"{batch.id}.bin", "rb") as file:
                file.seek(place * size)
                sealed = file.read(size)
            return ChaCha20Poly1305(key).decrypt(_nonce(index), sealed, batch.id.encode())
        except (OSError, InvalidTag, ValueError):
            raise StoreError(f"slot {index} is damaged: run `blindsight material purge`") from None

    def _has_keys(self, batch: Batch) -> bool:
        try:
            return (self._path / f"{batch.id}.key").stat().st_size == batch.count * _KEY
        except FileNotFoundError:
            return False

    def _drop_used(self) -> None:
        """Wipe the key of every slot below the cursor; a batch with none above goes whole."""
        for batch in list(self._batches):
            used = self.cursor - batch.first
            if used >= batch.count:
                self._delete(batch)
            elif used > 0:
                # all of them, not just the last: a jump or a crash may have skipped some
                with suppress(FileNotFoundError):
                    _zero(self._path / f"{batch.id}.key", used * _KEY)

    def _delete(self, batch: Batch) -> None:
        """The keys first: from then on what is left of the batch is noise."""
        for suffix in ("key", "json", "bin"):
            _wipe(self._path / f"{batch.id}.{suffix}")
        self._batches.remove(batch)


def pool_folders(folder: Path) -> list[Path]:
    """The pools in a server's material folder; StoreError where there is no such folder."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder; name the server's material folder")
    return sorted(p.parent for p in folder.glob("**/cursor"))


def stored_pools(folder: Path) -> list[dict[str, Any]]:
    """What lies in a server's material folder, read without taking its locks: a running server keeps it.

    Returns:
        One object a pool: `pool` (folder name), `left` (slots), `cursor`, `batches`, `bytes`.

    Raises:
        StoreError: no such folder, or a damaged pool.
    """
    out = []
    for pool in pool_folders(folder):
        cursor = read_cursor(pool / "cursor")
        batches = [_read_meta(p) for p in pool.glob("*.json")]
        out.append(
            {
                "pool": str(pool.relative_to(folder)),
                "left": sum(max(0, b.first + b.count - max(b.first, cursor)) for b in batches),
                "cursor": cursor,
                "batches": len(batches),
                "bytes": sum(p.stat().st_size for p in pool.iterdir()),
            }
        )
    return out


def _read_meta(path: Path) -> Batch:
    try:
        meta = json.loads(path.read_text())
        batch = Batch(meta["id"], meta["first"], meta["count"])
        if type(batch.first) is not int or type(batch.count) is not int or min(batch.first, batch.count) < 0:
            raise ValueError
        if max(batch.first, batch.count) > 2**53:  # as on the wire: what opening burns must fit the cursor
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(f"{path} is damaged: run `blindsight material purge`") from None
    if batch.id != path.stem:
        raise StoreError(f"{path} names another batch: run `blindsight material purge`")
    return batch


def _wipe(path: Path) -> None:
    """Overwrite keys before unlinking their file; other files are just unlinked."""
    if path.suffix == ".key" and path.exists():
        _zero(path, path.stat().st_size)
    path.unlink(missing_ok=True)


def _zero(path: Path, size: int) -> None:
    """Overwrite the first `size` bytes, durably (of no use on flash or copy-on-write disks, harmless there)."""
    with open(path, "r+b", buffering=0) as file:
        if file.write(bytes(size)) != size:
            raise OSError(f"{path}: used keys could not be overwritten whole")
        os.fsync(file.fileno())


def _nonce(index: int) -> bytes:
    return struct.pack("<QI", index, 0)
