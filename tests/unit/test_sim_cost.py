"""The cost model: exact where exactness is possible, ordered where it is not, the same every time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.hw import profiles
from blindsight.simulator import scenario, validate
from blindsight.simulator.cost import Band, CostError, Workload, board_names, cost, cycles, load_board, shape
from blindsight.simulator.cost.data import DATA, tables
from blindsight.wire.blocks import Layout, Mode, PixelFormat
from blindsight.wire.manifest import Manifest

HW = profiles.HERE


def test_bands_keep_their_order_and_take_the_worst_with_the_worst() -> None:
    a, b = Band(1, 2, 4), Band(2, 4, 8)
    assert a + b == Band(3, 6, 12)
    assert a * b == Band(2, 8, 32)
    assert a / b == Band(1 / 8, 0.5, 2)
    with pytest.raises(ValueError):
        Band(2, 1, 3)


def test_cycles_by_hand() -> None:
    counts = {
        "instructions": 10,
        "alu": 4,
        "load": 2,
        "load_many": 1,
        "load_words": 3,
        "branch": 3,
        "taken": 2,
    }
    got = cycles("cortex-m4", counts, memory=False)
    assert (got.low, got.mid, got.high) == (
        4 + 4 + 1 + 3 + 3 + 2,
        4 + 4 + 1 + 3 + 3 + 4,
        4 + 4 + 1 + 3 + 3 + 6,
    )
    with pytest.raises(CostError, match="teleport"):
        cycles("cortex-m4", {"teleport": 1})


@pytest.mark.parametrize("target", tables()["classes"])
def test_class_counts_are_the_measured_instructions(target: str) -> None:
    """Classes, stage by stage, add up to the instructions that hw measured for the whole."""
    measured = json.loads((HW / "measured" / f"{target}.json").read_text())["modes"]
    for mode, row in tables()["classes"][target]["modes"].items():
        for counts in [*row["stages"].values(), row["total"]]:
            single = sum(
                n for k, n in counts.items() if k not in ("instructions", "taken") and "words" not in k
            )
            assert single == counts["instructions"]
        assert sum(c["instructions"] for c in row["stages"].values()) == row["total"]["instructions"]
        assert row["total"]["instructions"] == pytest.approx(measured[mode]["instructions"], rel=0.002)


def test_every_board_and_mode_has_a_cost_with_every_number_sourced() -> None:
    for name in board_names(HW):
        linux = load_board(HW, name).linux
        for mode in Mode:
            c = cost(HW, name, Workload(mode=mode, sleep="none" if linux else "deep", battery_mah=2000))
            assert 0 < c.seconds.low <= c.seconds.mid <= c.seconds.high
            assert c.battery_days is not None and c.battery_days.low > 0
            assert (c.bytes is None) == (name == "nrf52840")
            awake = c.millijoules.mid * c.workload.per_day / 1000
            assert c.day_joules.mid == pytest.approx(awake + c.sleep_joules.mid)
            assert c.ram["core"].mid <= c.ram["total"].mid and c.ram["largest_block"].mid > 0
            shown = c.to_json()
            for way in ("up", "down") if c.bytes is not None else ():
                assert set(shown["bytes"][way]) == {"payload", "mqtt", "tls", "tcp"}
            for used in c.used:
                assert len(used.source) > 8 and used.kind and used.unit
            assert any(u.kind == "assumed" for u in c.used)


def test_what_must_cost_more_costs_more() -> None:
    base = Workload(battery_mah=3000)
    c3 = cost(HW, "esp32-c3", base)
    sk, aes = (cost(HW, "esp32-c3", replace(base, mode=m)) for m in (Mode.RLWE_SK, Mode.AES))
    assert c3.bytes and sk.bytes and aes.bytes
    assert c3.bytes.sum("up").mid > sk.bytes.sum("up").mid > aes.bytes.sum("up").mid
    assert c3.millijoules.mid > sk.millijoules.mid > aes.millijoules.mid
    assert cost(HW, "esp32-c3", replace(base, core="viper")).seconds.mid > c3.seconds.mid
    often = cost(HW, "esp32-c3", replace(base, per_day=400))
    assert often.battery_days and c3.battery_days and often.battery_days.mid < c3.battery_days.mid
    assert cost(HW, "esp32-c3", replace(base, tls=False)).bytes.up["tls"] == Band.exact(0)  # type: ignore[union-attr]


def test_memory_is_in_bytes_whatever_the_profile_says_it_in() -> None:
    for board, size in (("esp32-c3", 400 << 10), ("pi-zero-2w", 512 << 20)):
        assert cost(profiles.HERE, board, Workload(sleep="none")).ram["sram"] == Band.exact(size)


def test_c3_encrypts_at_the_clock_of_its_profile() -> None:
    c = cost(HW, "esp32-c3", Workload())
    ntt = next(s for s in c.stages if s.name == "ntt")
    row = tables()["classes"]["rv32imc"]["modes"]["rlwe"]["stages"]["ntt"]
    assert ntt.seconds.mid == pytest.approx(cycles("rv32imc", row).mid / 160e6)


@settings(max_examples=30, deadline=None)
@given(
    h=st.integers(1, 200), w=st.integers(1, 200), c=st.sampled_from((1, 3)), b=st.integers(1, 16), m=st.sampled_from(Mode)
)  # fmt: skip
def test_sizes_are_those_of_the_wire_format(h: int, w: int, c: int, b: int, m: Mode) -> None:
    layout = Layout(m, h * w * c, b)
    s = shape(m, h, w, c, b, model=5)
    assert [sum(x) for x in s.blocks] == [layout.block_bytes(j) for j in range(layout.blocks)]
    digests = tuple(bytes(32) for _ in range(layout.blocks))
    manifest = Manifest(
        mode=m,
        pixel_format=PixelFormat.GRAY8 if c == 1 else PixelFormat.RGB888,
        device="cam-00000001", image=bytes(16), model="mnist", plan_hash=bytes(32), key_id=bytes(8), height=h,
        width=w, channels=c, polys_per_block=b, nonce=bytes(12), commitments=digests,
        c1_hashes=() if m is Mode.AES else digests,
    )  # fmt: skip
    assert s.manifest == len(manifest.encode(bytes(32))) + 32


@pytest.mark.parametrize("name", scenario.names())
def test_scenarios_give_identical_outputs_twice(name: str) -> None:
    plan = scenario.load(name)
    first, second = ([cost(HW, b, w).to_json() for b, w in plan.workloads()] for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("boards = []", "boards"),
        ('boards = ["esp32"]\nbattrey_mah = 3', "battrey_mah"),
        ('boards = ["esp32"]\nmodes = ["rot13"]', "rot13"),
        ('boards = ["esp32"]\nheight = "x"', "height"),
        ('boards = ["esp32"]\nsleep = "well"', "sleep"),
        ('boards = ["esp32"]\nrtt_s = [3, 2, 1]', "band"),
        ('boards = ["esp32"]\n[fleet]\ndevises = 3', "devises"),
        ('boards = ["esp32"]\n[fleet]\ndevices = "many"', "devices"),
        ("boards = [", "TOML"),
    ],
)
def test_bad_scenarios_are_one_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(CostError, match=why) as error:
        scenario.load(str(path))
    assert "\n" not in str(error.value)


def test_held_out_rows_of_the_same_configuration_are_within_a_quarter() -> None:
    rows = validate.rows()
    matching = [r for r in rows if r["held_out"] and r["config_match"]]
    assert len(matching) >= 9 and any(not r["config_match"] for r in rows)
    for r in matching:
        assert abs(r["error"]) <= 0.25, r["what"]
        assert r["predicted_low_ms"] <= r["published_ms"] <= r["predicted_high_ms"], r["what"]
    assert all(r["counts_from"] and r["source"] and r["note"] for r in rows)


def test_no_number_of_the_model_is_without_a_reason() -> None:
    for group in tables()["assumed"].values():
        assert all(len(entry["why"]) > 8 and len(entry["band"]) == 3 for entry in group.values())
    for core in tables()["cores"].values():
        assert core["source"] and core["memory_source"] and core["kind"] in ("datasheet", "assumed")
    assert (DATA / "published.toml").is_file()


def test_modelled_beside_measured(tmp_path: Path) -> None:
    """A file as `hw hil` writes it: its last row of a body counts, both cores are shown, another clock is allowed for."""
    path = tmp_path / "hil.jsonl"
    assert validate.measured(HW, path) == []
    board = {
        "body": "shelf-c3",
        "board": "esp32-c3",
        "mhz": 80,
        "run": "2026",
        "firmware_sha256": "00",
        "n": 3,
    }
    rows = [
        board | {"metric": "rlwe polynomial", "median": 999.0, "spread": 1.0},
        board | {"metric": "rlwe polynomial", "median": 12.0, "spread": 1.0},
        board | {"metric": "rlwe heap", "median": 1e4, "spread": 0.0},
        {"body": "qemu-rv32", "board": "rv32imc", "mhz": None, "metric": "aes instructions", "median": 5.0, "spread": 0.0},
        {"body": "unix", "board": "linux", "mhz": None, "metric": "rlwe polynomial", "median": 1.0, "spread": 0.0},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    got = validate.measured(HW, path)
    assert [(r["body"], r["what"]) for r in got] == [
        ("qemu-rv32", "aes instructions of a polynomial"),
        ("shelf-c3", "rlwe polynomial, C core"),
        ("shelf-c3", "rlwe polynomial, viper"),
    ]
    native, viper = got[1:]
    counts = tables()["classes"]["rv32imc"]["modes"]["rlwe"]["stages"].values()
    assert native["modelled"]["mid"] == pytest.approx(
        sum(cycles("rv32imc", c).mid for c in counts) / 80e3, rel=1e-4
    )
    assert viper["modelled"]["mid"] > 5 * native["modelled"]["mid"] and native["measured"] == 12
    assert native["error"] == pytest.approx(native["modelled"]["mid"] / 12 - 1, abs=1e-4)
    path.write_text("no metric\n")
    with pytest.raises(CostError, match="line 1"):
        validate.measured(HW, path)
