"""Which board is which device: one JSON file, a row a device, written whole and renamed.

It holds fingerprints, never secrets. A row says `writing` from before the first byte goes to the board until the board
has confirmed the last one, so that an interrupted provisioning shows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blindsight.errors import OneLine

if sys.platform != "win32":  # there nothing is locked: run one command at a time
    import fcntl


class InventoryError(OneLine):
    """The inventory cannot be used; one line that names the fix."""


class Inventory:
    """The inventory in `path`; several commands may use it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[str, dict[str, Any]]:
        """Device id -> its row."""
        try:
            rows = json.loads(self.path.read_text())["devices"]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, RecursionError):
            rows = None
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise InventoryError(
                f"{self.path} is not an inventory: restore it, or move it away and provision again"
            )
        return rows

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(self.path.name + ".lock"), "w") as lock:
            if sys.platform != "win32":
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def write(self, device: str, **fields: Any) -> dict[str, Any]:
        """Adds to (or makes) the row of a device, durably; returns it."""
        with self._locked():
            rows = self.rows()
            row = rows.get(device, {}) | fields
            row["changed"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            rows[device] = row
            part = self.path.with_name(self.path.name + ".part")
            with open(part, "w") as f:
                json.dump({"devices": rows}, f, indent=1, sort_keys=True)
                f.flush()
                os.fsync(f.fileno())
            os.replace(part, self.path)
        return row
