"""What a device under test can be made of.

`unix`: the MicroPython unix port behind a pseudo-terminal, application deployed by mpremote. `qemu-*`: the C core bare
on an emulated CPU, counted. `serial:PORT`, `rfc2217://...`: a real board, on the same code path as `unix`. Further
names come from a hardware map, a YAML file:

    boards:
      - {id: desk-s3, body: "serial:/dev/ttyACM0", board: esp32-s3-sense, capabilities: [camera], quarantine: "why"}
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blindsight.hw import profiles
from blindsight.hw.deploy import APP, STATE_FILES, deploy, state_of
from blindsight.hw.emulated import EmulatedBoard
from blindsight.hw.link import Link
from blindsight.hw.selftest import selftest

QEMU = {"qemu-m4": "cortex-m4", "qemu-m7": "cortex-m7", "qemu-rv32": "rv32imc", "qemu-xtensa": "xtensa"}
MEASURED = Path(__file__).resolve().parents[1] / "measured"


class BodyError(Exception):
    """A body that does not exist or a map that cannot be read; one line that names the fix."""


@dataclass(frozen=True)
class Spec:
    """A body asked for: its name in tables, what it is made of, and what the map says of it."""

    name: str
    body: str
    board: str | None = None
    capabilities: frozenset[str] = frozenset()
    quarantine: str | None = None


@dataclass
class Dut:
    """A device under test. `facts`: `board`, `firmware_sha256`, `mhz`, `heap` (None where there is no such thing)."""

    name: str
    capabilities: frozenset[str]
    facts: dict[str, Any]
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def wrong_answers(self) -> list[str]:
        """Modes whose bytes differ from the known answers."""
        raise NotImplementedError

    def record(self, metric: str, values: list[float], unit: str, model: float | None = None) -> None:
        """A measurement for the run's JSONL file; `model` is what was predicted or published for it."""
        ordered = sorted(values)
        row = {"metric": metric, "unit": unit, "n": len(values), "median": ordered[len(ordered) // 2]}
        self.metrics.append(row | {"spread": ordered[-1] - ordered[0], "model": model})

    def close(self) -> None:
        """Let go of it."""


class QemuDut(Dut):
    """The C core on an emulated CPU; `counts` is the object of `hw measure`."""

    def __init__(self, spec: Spec) -> None:
        from blindsight.hw.qemu import measure

        target = QEMU[spec.body]
        self.counts = measure(target)  # refuses wrong known answers and counts that depend on secrets
        self.published = json.loads((MEASURED / f"{target}.json").read_text())
        core = APP.parent / "rlwe" / "src"
        digest = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(core.glob("*.c"))))
        facts = {"board": target, "firmware_sha256": digest.hexdigest(), "mhz": None, "heap": None}
        super().__init__(spec.name, frozenset({"c-core", "counts"}) | spec.capabilities, facts)

    def wrong_answers(self) -> list[str]:
        """None: the measurement itself ended with status 0 of the known-answer test, or raised."""
        return []


class MicroPythonDut(Dut):
    """A board that speaks the raw REPL; `link` leads to it."""

    def __init__(self, spec: Spec, port: str, capabilities: set[str]) -> None:
        self.link = Link(port)
        if "deploy" in capabilities:
            self.deployed = deploy(self.link)
        board = self.link.inspect("/a", "/b", "/rom", read=STATE_FILES)
        slot = state_of(board).get("active", "a")
        files = sorted((p, h) for p, h in board["files"].items() if p.startswith(f"/{slot}/"))
        digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
        facts = {
            "board": spec.board or board["platform"], "firmware_sha256": digest, "mhz": board["mhz"] or None,
            "heap": board["heap"],
        }  # fmt: skip
        super().__init__(
            spec.name, frozenset({"micropython", "files", "clock"} | capabilities) | spec.capabilities, facts
        )

    def selftest(self) -> dict[str, Any]:
        """`blindsight.hw.selftest.selftest` of this board."""
        return selftest(self.link)

    def wrong_answers(self) -> list[str]:
        wrong: list[str] = self.selftest()["wrong"]
        return wrong


class UnixDut(MicroPythonDut):
    """The unix port as a board, with a fresh flash."""

    def __init__(self, spec: Spec) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.emulated = EmulatedBoard(Path(self._folder.name))
        try:
            super().__init__(spec, self.emulated.port, {"deploy", "network"})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.emulated.unplug()
        self._folder.cleanup()


def read_map(path: Path) -> dict[str, Spec]:
    """The boards of a hardware map by id."""
    import yaml

    try:
        rows = yaml.safe_load(path.read_text())["boards"]
        specs = [
            Spec(
                str(r["id"]), str(r["body"]), r.get("board"), frozenset(map(str, r.get("capabilities", ()))),
                r.get("quarantine"),
            )
            for r in rows
        ]  # fmt: skip
    except FileNotFoundError:
        raise BodyError(f"no hardware map {path}: docs/boards.md shows one") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise BodyError(
            f"{path} is not a hardware map: `boards:` with id and body each (docs/boards.md)"
        ) from None
    for spec in specs:
        _check(spec.body)
        if spec.board:
            profiles.load_board(spec.board)
    return {spec.name: spec for spec in specs}


def _check(body: str) -> None:
    if body != "unix" and body not in QEMU and not body.startswith(("serial:", "rfc2217://")):
        known = ", ".join(["unix", *QEMU, "serial:PORT", "rfc2217://HOST:PORT"])
        raise BodyError(f"no body {body!r}: one of {known}, or an id of the hardware map")


def choose(wanted: str, boards: dict[str, Spec]) -> list[Spec]:
    """The bodies of `--body A,B` (`map`: every board of the map); without it the map's, if there is one."""
    chosen: list[Spec] = []
    for name in filter(None, (w.strip() for w in (wanted or "map").split(","))):
        if name == "map":
            chosen += boards.values()
        elif name in boards:
            chosen.append(boards[name])
        else:
            _check(name)
            chosen.append(Spec(name, name))
    names = [spec.name for spec in chosen]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise BodyError(f"body {sorted(twice)[0]} is named twice")
    return chosen


def make(spec: Spec, may_deploy: bool = False) -> Dut:
    """The device; `may_deploy` lets a real board be written to."""
    if spec.body == "unix":
        return UnixDut(spec)
    if spec.body in QEMU:
        return QemuDut(spec)
    return MicroPythonDut(spec, spec.body, {"real"} | ({"deploy"} if may_deploy else set()))
