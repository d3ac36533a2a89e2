"""The public plans the helper works on: `*.plan.json` in one folder. A file that holds weights is refused.

Of a concealed model the helper holds its share of the weights too, `<version>.share`: uniform without the
cloud's.
"""

from __future__ import annotations

from pathlib import Path

from blindsight.nn.plan import Plan, PlanError, load_plan
from blindsight.nn.shares import ModelShare
from blindsight.offline.cursor import write_durably
from blindsight.service.engine import split_version
from blindsight.wire import WireError, keys


class Plans:
    """The folder's plans by model name and plan hash; a changed folder is read anew.

    A file that is no plan is left out; `faults` then holds a line for each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[tuple[Path, int], Plan | str] = {}

    def serving(self) -> dict[str, dict[bytes, Plan]]:
        """Name -> plan hash -> plan."""
        found = {(p, p.stat().st_mtime_ns) for p in self._folder.glob("*.plan.json")}
        if found != set(self._loaded):
            self._loaded = {key: self._loaded.get(key) or _read(key[0]) for key in found}
        out: dict[str, dict[bytes, Plan]] = {}
        for plan in self._loaded.values():
            if isinstance(plan, Plan):
                out.setdefault(plan.name, {})[plan.hash] = plan
        return out

    def find(self, name: str, plan_hash: str = "") -> Plan:
        """The only plan of a model, or of several the one whose hash begins with `plan_hash`; else `PlanError`."""
        held = self.serving().get(name, {})
        found = [plan for h, plan in held.items() if h.hex().startswith(plan_hash)]
        if len(found) == 1:
            return found[0]
        if not held:
            raise PlanError(f"{self._folder} holds no plan of {name!r}: copy {name}.plan.json there")
        raise PlanError(
            f"{self._folder} holds {', '.join(h.hex()[:16] for h in held)} of {name!r}: name with --plan the one that "
            "`blindsight model list` calls active at the cloud"
        )

    def share(self, version: bytes) -> Path:
        """Where the helper's share of this version of a concealed model lies."""
        return self._folder / f"{version.hex()}.share"

    def add_share(self, file: Path) -> Plan:
        """Installs the helper's share of a concealed model, and its plan."""
        share = ModelShare.load(file, 1)
        keys.check_model(share.plan.name)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self.share(split_version(share.split)), file.read_bytes())
        self._write(share.plan)
        return share.plan

    @property
    def faults(self) -> list[str]:
        """What was wrong with the files that `serving` left out."""
        return sorted(fault for fault in self._loaded.values() if isinstance(fault, str))

    def add(self, file: Path) -> Plan:
        """Installs a plan file."""
        plan = load_plan(file)
        keys.check_model(plan.name)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write(plan)
        return plan

    def _write(self, plan: Plan) -> None:
        target = self._folder / f"{plan.name}-{plan.hash.hex()[:16]}.plan.json"
        write_durably(target, plan.to_json().encode())


def _read(path: Path) -> Plan | str:
    try:
        plan = load_plan(path)
        keys.check_model(plan.name)
        return plan
    except (PlanError, WireError) as error:
        return str(error)
