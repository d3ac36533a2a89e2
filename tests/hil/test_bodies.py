"""`serial:` and `rfc2217://` bodies: the code path of real boards, with an emulated board at its end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
from leash import running
from rfc2217_server import Server

from blindsight.hw.deploy import deploy
from blindsight.hw.emulated import EmulatedBoard
from blindsight.hw.hil import run as hil
from blindsight.hw.link import Link

TEST = """
from blindsight.hw.hil import needs

@needs("real")
def test_right(dut):
    assert dut.wrong_answers() == []
    assert dut.facts["heap"] > 0 and len(dut.facts["firmware_sha256"]) == 64

@needs("deploy")
def test_writes(dut):
    raise AssertionError("a real board is not written to without --deploy")
"""


@pytest.mark.parametrize("way", ["serial", "rfc2217"])
def test_a_board_at_a_port(way: str, tmp_path: Path) -> None:
    suite = tmp_path / "test_it.py"
    suite.write_text(TEST)
    with EmulatedBoard(tmp_path / "flash") as board:
        deploy(Link(board.port))
        server = Server(board.port) if way == "rfc2217" else None
        name = server.url if server else f"serial:{board.port}"
        try:
            got = hil.run(name, None, tmp_path / "m.jsonl", tests=suite)
        finally:
            if server:
                server.close()
    assert got["bodies"] == {name: {"passed": 1, "failed": 0, "skipped": 1, "quarantined": 0}}


def test_an_emulated_board_from_the_command_line(tmp_path: Path) -> None:
    """`hw emulate` names a port that takes commands, keeps its files, and goes at Ctrl-C."""
    port = tmp_path / "ttyDESK"
    blindsight = str(Path(sys.executable).with_name("blindsight"))
    command = [blindsight, "hw", "emulate", str(tmp_path / "desk"), "--board", "pico-w", "--link", str(port)]
    for life in range(2):
        with running(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout and "emulated" in process.stdout.readline()
            link = Link(str(port))
            if life == 0:
                link.put({"/kept.txt": b"kept"}, "writing")
            code = "print(open('/kept.txt').read())"
            assert link.mpremote("exec", code, doing="reading").strip() == "kept"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        assert not port.is_symlink()
    done = subprocess.run([*command[:4], "--board", "pi-5"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "does not run MicroPython" in done.stderr
