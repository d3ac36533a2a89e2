"""The public plans the helper works on: `*.plan.json` in one folder. A file that holds weights is refused."""

from __future__ import annotations

from pathlib import Path

from blindsight.nn.plan import Plan, PlanError, load_plan
from blindsight.offline.cursor import write_durably
from blindsight.wire import keys


class Plans:
    """The folder's plans by model name and plan hash; a changed folder is read anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[tuple[Path, int], Plan] = {}

    def serving(self) -> dict[str, dict[bytes, Plan]]:
        """Name -> plan hash -> plan; raises `PlanError` for a file that is no plan."""
        found = {(p, p.stat().st_mtime_ns) for p in self._folder.glob("*.plan.json")}
        if found != set(self._loaded):
            self._loaded = {key: self._loaded.get(key) or load_plan(key[0]) for key in found}
        out: dict[str, dict[bytes, Plan]] = {}
        for plan in self._loaded.values():
            out.setdefault(plan.name, {})[plan.hash] = plan
        return out

    def add(self, file: Path) -> Plan:
        """Installs a plan file."""
        plan = load_plan(file)
        keys.check_model(plan.name)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self._folder / f"{plan.name}-{plan.hash.hex()[:16]}.plan.json"
        write_durably(target, plan.to_json().encode())
        return plan


__all__ = ["PlanError", "Plans"]
