"""What one picture costs a board: time, energy, memory and bytes by stage, and how long a battery lasts at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blindsight.simulator.cost.band import ZERO, Band, total
from blindsight.simulator.cost.cycles import stage_cycles
from blindsight.simulator.cost.data import Board, CostError, Used, load_board
from blindsight.simulator.cost.traffic import Shape, Traffic, shape, traffic
from blindsight.wire.blocks import Mode

SLEEPS = ("deep", "connected", "none")
CORES = ("native", "viper")
DAY = 86400.0
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}


@dataclass(frozen=True)
class Workload:
    """What the board is to do. `sleep`: `deep` (power off between pictures, a new connection each), `connected` (keeps
    the connection in automatic light sleep), `none` (idles awake). `core`: the C core installed, or viper alone. `rtt`
    and `server`: network round trip and the servers' answer in seconds; `battery_mah` 0: mains.
    """

    mode: Mode = Mode.RLWE
    height: int = 28
    width: int = 28
    channels: int = 1
    per_day: float = 40
    sleep: str = "deep"
    core: str = "native"
    tls: bool = True
    per_block: int = 4
    rtt: Band = field(default_factory=lambda: Band(0.005, 0.03, 0.15))
    server: Band = field(default_factory=lambda: Band(0.5, 2.0, 6.0))
    battery_mah: float = 0

    def check(self) -> None:
        """CostError for what makes no sense."""
        if self.sleep not in SLEEPS or self.core not in CORES:
            raise CostError(f"sleep is one of {', '.join(SLEEPS)}; core one of {', '.join(CORES)}")
        if (
            min(self.height, self.width) < 1
            or max(self.height, self.width) > 4096
            or self.channels not in (1, 3)
        ):
            raise CostError("a picture is 1 to 4096 pixels high and wide, with 1 or 3 channels")
        if not 0 < self.per_day <= DAY or self.battery_mah < 0 or not 1 <= self.per_block <= 16:
            raise CostError(
                "per_day is above 0 and at most 86400, battery_mah not negative, per_block 1 to 16"
            )


@dataclass(frozen=True)
class Stage:
    """A part of the picture's way: seconds and millijoules."""

    name: str
    seconds: Band
    millijoules: Band


@dataclass(frozen=True)
class Cost:
    """The whole answer; `used` names every number it stands on. `sleep_joules` and `day_joules` are of a day."""

    board: Board
    workload: Workload
    stages: list[Stage]
    bytes: Traffic | None
    ram: dict[str, Band]
    sleep_ma: Band
    sleep_joules: Band
    volts: Band
    day_joules: Band
    battery_days: Band | None
    used: list[Used]

    @property
    def seconds(self) -> Band:
        """Awake for one picture."""
        return total(s.seconds for s in self.stages)

    @property
    def busy(self) -> Band:
        """Part of the time the board is awake; above 1 it does not keep up."""
        return self.seconds * self.workload.per_day / DAY

    @property
    def millijoules(self) -> Band:
        """Energy of one picture, sleep apart."""
        return total(s.millijoules for s in self.stages)

    def to_json(self) -> dict[str, Any]:
        """The report's object."""
        w = self.workload
        air = None
        if self.bytes is not None:
            air = {
                way: {k: v.to_json() for k, v in getattr(self.bytes, way).items()} for way in ("up", "down")
            }
            air["total"] = (self.bytes.sum("up") + self.bytes.sum("down")).to_json()
        return {
            "board": self.board.id,
            "network": self.board.network,
            "mode": w.mode.label,
            "shape": [w.height, w.width, w.channels],
            "per_day": w.per_day,
            "sleep": w.sleep,
            "core": w.core,
            "seconds": self.seconds.to_json(),
            "millijoules": self.millijoules.to_json(),
            "busy": self.busy.to_json(),
            "stages": [
                {"name": s.name, "seconds": s.seconds.to_json(), "millijoules": s.millijoules.to_json()}
                for s in self.stages
            ],
            "payload_bytes": shape(w.mode, w.height, w.width, w.channels, w.per_block).payload,
            "bytes": air,
            "ram": {k: v.to_json() for k, v in self.ram.items()},
            "sleep_ma": self.sleep_ma.to_json(),
            "sleep_joules": self.sleep_joules.to_json(),
            "day_joules": self.day_joules.to_json(),
            "battery_days": None if self.battery_days is None else self.battery_days.to_json(),
            "used": [u.to_json() for u in self.used],
        }


def cost(hw: Path, board_name: str, work: Workload) -> Cost:
    """The cost of `work` on a board; the same numbers every time. `hw`: the folder of the room hw."""
    work.check()
    board = load_board(hw, board_name)
    if work.sleep == "deep" and board.linux:
        raise CostError(f"{board_name} has no deep sleep; use sleep = none")
    s = shape(work.mode, work.height, work.width, work.channels, work.per_block)
    clock = board.take("clock", "compute.clock", assumed="power.run")
    hz = clock * 1e6
    run = _run_current(board, clock)
    volts = board.take("supply", "power.supply", assumed="power.supply")
    stages = [Stage(n, t, t * i * volts) for n, t, i in _awake(hw, board, work, s, hz, run)]
    radio = board.network != "none"
    fresh = work.sleep == "deep"
    air = traffic(board, s, work.tls, fresh) if radio else None
    if air is not None:
        stages += [Stage(n, t, t * i * volts) for n, t, i in _network(board, work, air, hz, run, fresh)]
    sleep_ma = _sleep_current(board, work)
    awake = total(x.seconds for x in stages)
    asleep = Band(*(max(0.0, DAY - work.per_day * t) for t in (awake.high, awake.mid, awake.low)))
    energy = total(x.millijoules for x in stages)
    rest = asleep * sleep_ma * volts / 1000
    day = energy * work.per_day / 1000 + rest
    return Cost(
        board, work, stages, air, _memory(hw, board, work), sleep_ma, rest, volts, day, _days(board, work, day),
        list(board.used.values()),
    )  # fmt: skip


def _run_current(board: Board, clock: Band) -> Band:
    if board.linux:
        return board.take("run", "power.run", assumed="power.linux_run")
    name = f"power.run_{clock.mid:g}"
    m4 = board.measured == "cortex-m4" and board.network == "none"
    return board.take("run", name, assumed="power.cortex_m4_run" if m4 else "power.run")


def _awake(
    hw: Path, board: Board, work: Workload, s: Shape, hz: Band, run: Band
) -> list[tuple[str, Band, Band]]:
    """Wake, capture, encryption and hashing: (name, seconds, mA)."""
    out = []
    if work.sleep == "deep" and not board.linux:
        out.append(("wake", board.assume("time.wake"), run))
    camera = run + (ZERO if board.linux else board.assume("power.camera"))
    out.append(("capture", board.assume("time.capture"), camera))
    per_poly, pixels, measured = stage_cycles(hw, board, work.mode.label)
    viper = work.core == "viper" and board.install == "micropython" and work.mode is not Mode.AES
    slow = board.assume("time.viper_factor") if viper else Band.exact(1)
    if work.mode is Mode.AES and "compute.aes_cbc" in board.quantities:
        rate = board.take("aes", "compute.aes_cbc", assumed="time.tls_cycles")  # MB/s: a CI minimum
        out.append(("aes", Band.exact(s.pixels / 1e6) / rate, run))
    else:
        # the last polynomial is counted whole: constant time
        polys = s.pixels / pixels if work.mode is Mode.AES else s.polys
        out += [(name, c * slow * polys / hz, run) for name, c in per_poly.items()]
        if "setup_instructions" in measured and work.sleep == "deep":
            setup = total(per_poly.values()) / measured["instructions"] * measured["setup_instructions"]
            out.append(("key", setup * slow / hz, run))
    hashed = s.payload + (s.polys * 2304 if work.mode is Mode.RLWE else 0)
    if "compute.sha256" in board.quantities:
        seconds = Band.exact(hashed / 1e6) / board.take(
            "sha256", "compute.sha256", assumed="time.hash_cycles"
        )
    else:
        seconds = board.assume("time.hash_cycles") * hashed / hz
    out.append(("hash", seconds, run))
    if board.install == "micropython":
        out.append(("interpreter", board.assume("time.python_poly") * s.polys, run))
    return out


def _network(
    board: Board, work: Workload, air: Traffic, hz: Band, run: Band, fresh: bool
) -> list[tuple[str, Band, Band]]:
    """Join, TLS, sending and waiting: (name, seconds, mA). Computers' currents are the whole board's."""
    out = []
    if board.linux:
        tx = rx = wait = run
        rate = board.assume("net.linux_throughput")
    else:
        tx = board.take("tx", "power.tx_11g_54m", assumed="power.tx")
        rx = board.take("rx", "power.rx_ht20", "power.rx", assumed="power.rx")
        wait = board.take("wait", "power.modem_sleep_dtim1", assumed="power.wait")
        if "network.tcp_tx" in board.quantities:
            rate = board.take("throughput", "network.tcp_tx", assumed="net.pico_throughput")
            rate = rate * board.assume("net.efficiency")
        else:
            rate = board.assume("net.pico_throughput")
    if fresh and not board.linux:
        out.append(("join", board.assume("time.join"), rx))
    if work.tls:
        if fresh:
            shake = board.assume("time.handshake_cycles_linux" if board.linux else "time.handshake_cycles")
            out.append(("tls handshake", shake / hz, run))
        moved = air.up["payload"] + air.up["mqtt"] + air.down["payload"] + air.down["mqtt"]
        out.append(("tls records", board.assume("time.tls_cycles") * moved / hz, run))
    on_air = (air.sum("up") + air.sum("down")) * 8e-6 / rate
    share = board.assume("net.tx_share")
    mixed = Band(
        *(max(r, q * t + (1 - q) * r) for r, t, q in zip(*map(_values, (rx, tx, share)), strict=True))
    )
    out.append(("radio", on_air, run if board.linux else mixed))
    out.append(("round trips", work.rtt * air.round_trips, wait))
    if fresh:  # else the board is back in its sleep state, still connected
        out.append(("answer", work.server, wait))
    return out


def _values(b: Band) -> tuple[float, float, float]:
    return b.low, b.mid, b.high


def _sleep_current(board: Board, work: Workload) -> Band:
    if board.linux:
        return board.take("sleep", "power.idle", assumed="power.linux_idle")
    leak = board.assume("power.board_leak")
    if work.sleep == "deep":
        return leak + board.take("sleep", "power.deep_sleep", assumed="power.deep_sleep")
    if work.sleep == "connected":
        names = ("power.auto_light_sleep_dtim3", "power.light_sleep")
        return leak + board.take("sleep", *names, assumed="power.connected_sleep")
    clock = board.quantities["compute.clock"]["value"]
    return leak + board.take("sleep", f"power.idle_{clock:g}", "power.modem_sleep_dtim1", assumed="power.run")


def _memory(hw: Path, board: Board, work: Workload) -> dict[str, Band]:
    """`core`: the C core's buffers and stack as measured; `tls`; `python_heap`; `total`: all of them; `sram`: what the chip
    has; `largest_block`: contiguous.
    """
    _, _, measured = stage_cycles(hw, board, work.mode.label)
    out = {"core": Band.exact(measured["ram_bytes"])}
    blocks = [Band.exact(8192 if work.mode is Mode.RLWE else 4096 if work.mode is Mode.RLWE_SK else 1024)]
    if board.install == "micropython":
        out["python_heap"] = board.assume("memory.python_heap")
    if work.tls and board.network != "none" and not board.linux:
        tls = board.quantities.get("memory.tls_connection")
        if tls is not None:
            out["tls"] = board.take("tls", "memory.tls_connection", assumed="memory.tls_block") * 1024
        blocks.append(board.assume("memory.tls_block"))
    out["total"] = total(out.values())
    if "memory.sram" in board.quantities:
        unit = _BYTES[board.quantities["memory.sram"]["unit"]]
        out["sram"] = board.take("sram", "memory.sram", assumed="memory.tls_block") * unit
    out["largest_block"] = max(blocks, key=lambda b: b.mid)
    return out


def _days(board: Board, work: Workload, day: Band) -> Band | None:
    if not work.battery_mah:
        return None
    cell, good = board.assume("battery.cell"), board.assume("battery.efficiency")
    joules = cell * good * work.battery_mah * 3.6
    leak = board.assume("battery.self_discharge") / 100 / 30 * Band.exact(1)
    # the cell loses the share `leak` of what it holds a day beside what the board draws
    drain = day + Band(*(j * q for j, q in zip(_values(joules), _values(leak), strict=True)))
    return joules / drain
