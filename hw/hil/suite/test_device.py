"""What every device must do, whatever it is made of."""

import json
import os

from blindsight.hw.deploy import deploy
from blindsight.hw.hil import needs
from blindsight.hw.hil.bodies import Dut, MicroPythonDut, QemuDut
from blindsight.hw.selftest import known

MODES = ("rlwe", "rlwe-sk", "aes")


def test_known_answers(dut: Dut) -> None:
    assert dut.wrong_answers() == []


@needs("counts")
def test_instructions(dut: QemuDut) -> None:
    """No more than 2 % above the published counts."""
    for mode in MODES:
        count, model = dut.counts["modes"][mode]["instructions"], dut.published["modes"][mode]["instructions"]
        dut.record(f"{mode} instructions", [count], "1", model)
        assert count <= 1.02 * model


@needs("counts")
def test_memory(dut: QemuDut) -> None:
    for mode in MODES:
        row = dut.counts["modes"][mode]
        dut.record(f"{mode} stack", [row["stack_bytes"]], "B", dut.published["modes"][mode]["stack_bytes"])
        assert 0 < row["stack_bytes"] <= 1536 and row["ram_bytes"] <= 16 * 1024


@needs("counts")
def test_counts_do_not_depend_on_secrets(dut: QemuDut) -> None:
    assert dut.counts["same_counts_for"] >= 8


@needs("micropython", "clock")
def test_time_and_heap_of_each_mode(dut: MicroPythonDut) -> None:
    """Time is recorded; heap is bounded: a mode with its code and tables, on a 64-bit port."""
    runs = [dut.selftest() for _ in range(3)]
    for run in runs:
        assert run["passed"] and set(run["results"]) == set(known())
    for mode in MODES:
        stages = [[s for s in run["stages"] if s["stage"].startswith(mode + " ")] for run in runs]
        polynomial = [sum(s["us"] for s in found if s["stage"].endswith(" 0")) / 1000 for found in stages]
        dut.record(f"{mode} polynomial", polynomial, "ms")
        heap = [max(s["heap"] for s in found) for found in stages]
        dut.record(f"{mode} heap", [float(h) for h in heap], "B")
        assert min(polynomial) > 0 and max(heap) <= 48 * 1024


@needs("micropython")
def test_random_source(dut: MicroPythonDut) -> None:
    """It does not repeat itself; whether it may be trusted without the radio depends on the port."""
    found = dut.selftest()["random"]
    assert not found["repeats"] and found["distinct"] > 128


@needs("files")
def test_files_survive_a_reset(dut: MicroPythonDut) -> None:
    data = os.urandom(1500)
    dut.link.put({"/hil.bin": data}, "writing a file")
    dut.link.mpremote("soft-reset", doing="resetting")
    code = "import os,binascii;print(binascii.hexlify(open('/hil.bin','rb').read()).decode());os.remove('/hil.bin')"
    assert dut.link.mpremote("exec", code, doing="reading a file").strip() == data.hex()


@needs("deploy")
def test_a_second_deployment_sends_nothing(dut: MicroPythonDut) -> None:
    deploy(dut.link)
    again = deploy(dut.link)
    assert (again.sent, again.bytes) == (0, 0)
    state = json.loads(dut.link.inspect(read=("/app.json",))["read"]["/app.json"])
    assert state["active"] == again.slot and "trial" not in state
