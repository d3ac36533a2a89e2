"""The cloud's models by name: add, activate, roll back.

A folder: `<name>/<version>.bsm` (or `.share`: the cloud's share of a concealed model), version = SHA-256 of
the file (of the split) in hex, and `<name>/active.json`, the list of activations. Devices carry a plan hash,
not a version: a manifest is served by the latest activated version of that name with that plan hash, so
retrained weights under the same plan go live at once, and devices of an older plan are still served while its
version is in the list. Rolling back drops the last activation. Only the cloud reads these files; weights
never leave.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from blindsight.nn.model import Model
from blindsight.nn.plan import Plan, PlanError
from blindsight.nn.shares import ModelShare
from blindsight.offline.cursor import write_durably
from blindsight.service.engine import split_version
from blindsight.wire import WireError, keys

SHARE = ".share"


class ModelError(Exception):
    """The registry cannot do that; one line that names the fix."""


@dataclass(frozen=True)
class Version:
    """One installed model file."""

    name: str
    id: bytes
    plan_hash: bytes
    path: Path

    def load(self) -> Model | ModelShare:
        """Plan and weights, or this server's share of them, checked."""
        return ModelShare.load(self.path, 0) if self.path.suffix == SHARE else Model.load(self.path)


class Registry:
    """The installed models under a folder. Reads the lists anew when they change, so a running service
    follows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plans: dict[Path, Plan] = {}

    def add(self, file: Path) -> Version:
        """Installs a model file under the name its plan carries; does not activate it."""
        try:
            data = file.read_bytes()
            if file.suffix == SHARE:
                share = ModelShare.load(file, 0)
                plan, digest, suffix = share.plan, split_version(share.split), SHARE
            else:
                plan, digest, suffix = Model.from_bytes(data).plan, hashlib.sha256(data).digest(), ".bsm"
            name = keys.check_model(plan.name)
        except OSError as error:
            raise ModelError(f"{file}: {error.strerror}") from None
        except (PlanError, WireError) as error:
            raise ModelError(str(error) if str(file) in str(error) else f"{file}: {error}") from None
        target = self._folder / name / f"{digest.hex()}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not target.exists():
            write_durably(target, data)
        write_durably(target.with_suffix(".json"), plan.to_json().encode())
        return Version(name, digest, plan.hash, target)

    def activate(self, name: str, version: str) -> Version:
        """Makes an installed version (its hex id or an unambiguous beginning of it) the one in use."""
        found = [v for v in self.versions(name) if v.id.hex().startswith(version)]
        if len(found) != 1:
            raise ModelError(f"model {name}: {len(found)} installed versions begin with {version!r}")
        self._write(name, [*self._active(name), found[0].id.hex()])
        return found[0]

    def roll_back(self, name: str) -> Version:
        """Drops the last activation; returns the version now in use."""
        history = self._active(name)
        if len(history) < 2:
            raise ModelError(f"model {name} has no earlier activation to return to")
        self._write(name, history[:-1])
        return self._version(name, history[-2])

    def names(self) -> list[str]:
        """Models with an active version."""
        return sorted(p.parent.name for p in self._folder.glob("*/active.json"))

    def versions(self, name: str) -> list[Version]:
        """Everything installed under a name."""
        folder = self._folder / keys.check_model(name)
        files = sorted([*folder.glob("*.bsm"), *folder.glob(f"*{SHARE}")])
        return [self._version(name, p.stem) for p in files]

    def active(self, name: str) -> Version:
        """The version in use."""
        history = self._active(name)
        if not history:
            raise ModelError(f"model {name} is not active; `blindsight model activate {name} VERSION`")
        return self._version(name, history[-1])

    def serving(self) -> dict[str, dict[bytes, Version]]:
        """Name -> plan hash -> the version that serves it."""
        out: dict[str, dict[bytes, Version]] = {}
        for name in self.names():
            for version in self._active(name):
                if self._file(name, version).is_file():  # a removed file ends that version alone
                    found = self._version(name, version)
                    out.setdefault(name, {})[found.plan_hash] = found
        return out

    def plan(self, version: Version) -> Plan:
        """The public plan of an installed version."""
        path = version.path.with_suffix(".json")
        if path not in self._plans:
            self._plans[path] = Plan.from_json(path.read_bytes())
        return self._plans[path]

    def _version(self, name: str, version: str) -> Version:
        path = self._file(name, version)
        if not path.is_file():
            raise ModelError(f"model {name}: version {version[:12]} is not installed any more")
        found = Version(name, bytes.fromhex(version), b"", path)
        return Version(name, found.id, self.plan(found).hash, path)

    def _file(self, name: str, version: str) -> Path:
        share = self._folder / name / f"{version}{SHARE}"
        return share if share.is_file() else share.with_suffix(".bsm")

    def _active(self, name: str) -> list[str]:
        try:
            history = json.loads((self._folder / keys.check_model(name) / "active.json").read_text())
        except FileNotFoundError:
            return []
        if not isinstance(history, list) or not all(isinstance(v, str) for v in history):
            raise ModelError(f"model {name}: active.json is damaged; activate a version again")
        return history

    def _write(self, name: str, history: list[str]) -> None:
        write_durably(self._folder / name / "active.json", json.dumps(history).encode())
