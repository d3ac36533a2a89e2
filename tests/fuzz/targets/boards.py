"""Files and lines of boards, and the simulator's scenarios."""

from __future__ import annotations

import hashlib
import importlib
import json
import struct

from blindsight.hw import link as hw_link
from blindsight.hw import monitor as hw_monitor
from blindsight.hw.energy import TraceError, energy
from blindsight.hw.inventory import Inventory, InventoryError
from blindsight.hw.profiles import ProfileError, load_board, load_profile
from blindsight.hw.update import UpdateError, read_package

from .register import NESTED, ROOT, Finding, as_file, one_line, target


def _traces() -> list[bytes]:
    return [
        b"Timestamp(ms),Current(uA),D0-D7\n0.00,10.5,00000000\n0.01,11,00000000\n",
        b"#time (s),current (A),voltage (V)\n0,0.1,3.3\n1,0.2,3.3\n",
    ]


@target(_traces, TraceError)
def traces(data: bytes) -> None:
    """A power meter's CSV."""
    energy(as_file(data, "t.csv"), 3.3)


def _tables() -> list[bytes]:
    folder = ROOT / "hw"
    return [
        p.read_bytes() for kind in ("profiles", "boards") for p in sorted((folder / kind).glob("*.toml"))[:3]
    ] + NESTED[2:]


@target(_tables, ProfileError)
def profiles(data: bytes) -> None:
    """Board and chip tables."""
    path = as_file(data, "one.toml")
    for read in (load_profile, load_board):
        try:
            read("one", path.parent)
        except ProfileError as error:
            one_line(error)


def _scenarios() -> list[bytes]:
    files = sorted((ROOT / "simulator" / "scenarios").glob("*.toml"))
    return [*(p.read_bytes() for p in files), NESTED[2]]


def _cost_error() -> type[Exception]:
    return importlib.import_module("blindsight.simulator.cost").CostError


@target(_scenarios, _cost_error())
def scenarios(data: bytes) -> None:
    """Scenario files of the simulator."""
    from blindsight.simulator.scenario import load as load_scenario

    load_scenario(str(as_file(data, "s.toml")))


def _packages() -> list[bytes]:
    files = {"main.mpy": b"code"}
    head = {
        "counter": 1,
        "version": "1",
        "arch": "x64",
        "files": {n: hashlib.sha256(b).hexdigest() for n, b in files.items()},
    }
    raw = json.dumps(head).encode()
    magic = importlib.import_module("blindsight.hw.update").MAGIC
    bodies = [raw, *NESTED[:2]]
    return [
        magic + bytes(64) + struct.pack("<I", len(b)) + b + struct.pack("<I", 4) + b"code" for b in bodies
    ]


@target(_packages, UpdateError)
def updates(data: bytes) -> None:
    """Signed update packages, before their signature is trusted."""
    read_package(as_file(data, "u.bsu"))


def _board_json() -> list[bytes]:
    rows = b'{"devices": {"cam-1": {"port": "/dev/ttyACM0"}}}'
    return [rows, b'log\n@{"platform": "esp32", "read": {}}\n', b'{"event": "receipt"}', *NESTED[:2]]


@target(_board_json, InventoryError)
def board_json(data: bytes) -> None:
    """What a board prints on its serial line (events, and the answers of the scripts that run on it), and the inventory of
    boards.
    """
    text = data.decode("utf-8", "replace")
    if not isinstance(hw_link._answer(text) or {}, dict):
        raise Finding("an answer that is no object")
    for line in text.splitlines():
        hw_monitor._parsed(line.strip())
    path = as_file(data, "inv.json")
    for device in [*Inventory(path).rows(), "cam-2"][:2]:
        Inventory(path).write(device, state="writing")
