"""docs/boards.md as a reader follows it: every command of its blocks runs here, as written.

The board is emulated (hw/emulated_esp.py); esptool, mpremote, mpy-cross, Mosquitto with TLS and accounts, helper, cloud and
the Pi client are the real ones. Only names are put in: the port, HOST, the broker's port; and an update is signed for the
architecture of the unix port, which is what runs on the emulated board.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
from leash import leashed, running

from blindsight.app.children import free_port
from blindsight.hw.emulated_esp import EspBoard, stand_in_firmware
from blindsight.hw.profiles import load_board
from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "boards.md").read_text()
BIN = Path(sys.executable).parent
SERVERS = ("mosquitto ", "blindsight helper", "blindsight cloud")
ELSEWHERE = {"blindsight hw hil --body unix,qemu-m4,qemu-rv32": "test_hil.py"}


def lines(text: str) -> list[str]:
    """The commands in the plain blocks of a text, comments off; blocks of another language are no commands."""
    out, inside = [], ""
    for line in text.splitlines():
        if line.startswith("```"):
            inside = "" if inside else line
        elif inside == "```" and line.strip():
            out.append(line.split("  #")[0].strip())
    return out


def commands(title: str) -> list[str]:
    """The commands under a heading."""
    section = re.search(rf"^#+ {re.escape(title)}[^\n]*\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S)
    assert section, f"no heading {title!r}"
    return lines(section[1])


class Desk:
    """A folder to work in, the servers of the page, and a board at a port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.running: list[subprocess.Popen[bytes]] = []
        self.env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}:/usr/sbin", "OMP_NUM_THREADS": "1"}
        model = Model.load(zoo.path("mnist"))
        with np.load(zoo.pictures("mnist"), allow_pickle=False) as data:
            self.x = data["x"][:4]
        self.labels = floatnet.forward(model.graph, self.x[..., None]).argmax(axis=1)
        (folder / "PICTURES.raw").write_bytes(self.x.tobytes())
        (folder / "wifi.txt").write_text("secret of the net\n")
        (folder / "wifi.txt").chmod(0o600)

    def run(self, command: str, port: str = "", seconds: float = 240) -> str:
        """What it prints; fails with what it said."""
        for word, instead in (
            ("/dev/ttyACM0", port),
            ("HOST:8000", f"127.0.0.1:{self.web}"),
            ("8883", str(self.port)),
        ):
            command = command.replace(word, instead)
        words = shlex.split(command.replace("HOST", "localhost"))
        words += ["--port", str(self.port)] if command.startswith("blindsight broker config") else []
        if command.startswith(SERVERS):
            with open(self.folder / f"{words[0]}{len(self.running)}.log", "wb") as log:
                self.running.append(
                    subprocess.Popen(leashed(words), cwd=self.folder, env=self.env, stdout=log, stderr=log)
                )
            return ""
        done = subprocess.run(
            words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=seconds
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        if command.startswith("blindsight broker config") and os.geteuid() == 0:
            with open(self.folder / "site" / "broker" / "mosquitto.conf", "a") as conf:
                conf.write("user root\n")  # it would drop to an account that may not read this folder
        return done.stdout

    web = 0

    def section(self, title: str, port: str = "") -> dict[str, str]:
        """Runs a section's commands; what each printed, by its second and third word."""
        return {" ".join(c.split()[1:3]): self.run(c, port) for c in commands(title)}

    def board(self, name: str) -> EspBoard:
        known = load_board(name)
        assert known.flash
        firmware = stand_in_firmware(known.flash.chip, known.flash.offset)
        (self.folder / "firmware.bin").write_bytes(firmware)
        more = {"camera": known.camera != "none", "romfs": 128 << 10}
        return EspBoard(self.folder / name, known.flash.chip, known.flash.offset, **more)

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for process in self.running:
                stack.enter_context(process)
                stack.callback(process.kill)
                stack.callback(process.wait, 60)
                stack.callback(process.terminate)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with contextlib.closing(Desk(tmp_path_factory.mktemp("desk"))) as place:
        place.section("The servers, once")
        yield place


def result(events: str) -> dict[str, Any]:
    """The answer among a monitor's lines."""
    (found,) = (e for e in map(json.loads, events.splitlines()) if e["event"] == "result")
    return dict(found)


def scene(digit: np.ndarray) -> tuple[bytes, np.ndarray]:
    """A QVGA frame in RGB565 with the digit in the middle square, and what the firmware makes of it."""
    sys.path.insert(0, str(ROOT / "device_fw" / "app"))
    from bsdev import frame

    sys.path.pop(0)
    big = np.zeros((240, 320), int)
    big[:, 40:280] = digit[np.arange(240) * 28 // 240][:, np.arange(240) * 28 // 240]
    value = (big >> 3 << 11) | (big >> 2 << 5) | (big >> 3)
    raw = value.astype(">u2").tobytes()
    return raw, np.frombuffer(frame.resize(raw, "rgb565", (320, 240), (28, 28, 1)), np.uint8).reshape(28, 28)


def test_from_the_box_to_the_first_picture_with_a_camera(desk: Desk) -> None:
    raw, seen = scene(desk.x[2])
    (desk.folder / "esp32-s3-sense").mkdir()
    (desk.folder / "esp32-s3-sense" / "files.scene").write_bytes(raw)
    with desk.board("esp32-s3-sense") as board:
        assert not board.boots
        said = desk.section("ESP32-S3 camera board (XIAO ESP32-S3 Sense)", board.port)
        assert "written and verified" in said["hw flash"] and board.boots
        assert "rlwe: right" in said["hw selftest"]
    model = Model.load(zoo.path("mnist"))
    expected = int(floatnet.forward(model.graph, seen[None, ..., None]).argmax())
    assert result(said["hw monitor"])["index"] == expected
    rows = json.loads((desk.folder / "inventory.json").read_text())["devices"]
    assert rows["porch"]["state"] == "ready"
    assert "secret of the net" not in json.dumps(rows)


def test_a_board_without_a_camera_then_updates_romfs_and_mip(desk: Desk) -> None:
    with desk.board("esp32-c3") as board:
        said = desk.section("ESP32-C3 without a camera", board.port)
        found = result(said["hw monitor"])
        assert found["index"] == desk.labels[found["frame"]]
        # the board is of another architecture than the one sold under that name: its code is the unix port's
        for command in commands("Signed updates"):
            said[command.split()[2]] = desk.run(command.replace("--board esp32-c3", "--arch x64"), board.port)
        assert '"healthy"' in said["monitor"]
        state = json.loads((desk.folder / "esp32-c3" / "files" / "app.json").read_text())
        assert state["counter"] == 2 and "trial" not in state
        config = json.loads((desk.folder / "esp32-c3" / "files" / "bs" / "config.json").read_text())
        assert config["wifi"]["ssid"] == "MYNET", "the update's provisioning lost the Wi-Fi"

        romfs, mip = commands("Where the application may live")
        assert "slot rom" in desk.run(romfs, board.port)
        assert json.loads(desk.run(f"blindsight hw selftest {board.port} --json"))["passed"]
        server = [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"]
        with running(
            server, cwd=ROOT / "device_fw" / "app", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=desk.env | {"PYTHONUNBUFFERED": "1"},
        ) as web:  # fmt: skip
            assert web.stdout
            desk.web = int(web.stdout.readline().split("port ")[1].split()[0])
            assert "Done" in desk.run(mip, board.port)
        code = "import bsdev.encrypt, bsdev; print(bsdev.__file__, bsdev.VERSION)"
        assert desk.run(f"mpremote connect {board.port} exec '{code}'").startswith("bsdev/__init__.py 1.")
        files = json.loads((ROOT / "device_fw" / "app" / "package.json").read_text())["urls"]
        here = desk.folder / "esp32-c3" / "files"
        assert all((here / to).read_bytes() == (ROOT / "device_fw/app" / of).read_bytes() for to, of in files)
        events = desk.run(f"blindsight hw monitor {board.port} --until result")
        assert result(events)["index"] in desk.labels
        desk.run(f"blindsight hw deploy {board.port}")
        assert not list((here / "bsdev").glob("*")) and (here / "a").is_dir()


def test_a_pi(desk: Desk) -> None:
    """The wheel of device_fw/pi under this Python, against the same services."""
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        str(desk.folder),
    ]
    subprocess.run([*build, str(ROOT / "device_fw" / "pi")], check=True, timeout=200)
    (wheel,) = desk.folder.glob("blindsight_pi-*.whl")
    shutil.unpack_archive(wheel, desk.folder / "pi", "zip")
    client = desk.folder / "bin" / "blindsight-pi"
    client.parent.mkdir()
    client.write_text(
        f'#!/bin/sh\nPYTHONPATH="{desk.folder / "pi"}" exec "{sys.executable}" -m blindsight_pi "$@"\n'
    )
    client.chmod(0o755)
    desk.env["PATH"] = f"{client.parent}:{desk.env['PATH']}"
    *before, run = commands("Raspberry Pi")
    for command in before:
        desk.run(command)
    desk.running[0].send_signal(1)  # SIGHUP, as the page says
    answers, end = {}, time.monotonic() + 120
    with running(
        shlex.split(run), cwd=desk.folder, env=desk.env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "result":
                answers[event["frame"]] = event["index"]
            if len(answers) == 4 or time.monotonic() > end:
                break
        process.terminate()
    assert {f: desk.labels[f % 4] for f in answers} == answers and len(answers) == 4


def test_what_needs_no_board(desk: Desk) -> None:
    for command in commands("Boards"):
        desk.run(command)
    rows = ["Timestamp(ms),Current(uA),D0-D7"] + [f"{i},{50000 + i},00000000" for i in range(6000)]
    (desk.folder / "trace.csv").write_text("\n".join(rows) + "\n")
    (command,) = commands("Measuring energy")
    got = json.loads(desk.run(command))
    assert got["joules"] == pytest.approx(3.3 * 2.5 * 0.05325, rel=1e-3) and got["kind"] == "measured"


def test_every_command_of_the_page_is_run() -> None:
    """A block that is added to the page and to no test fails here: the tests above run whole sections."""
    written = set(lines(PAGE))
    run = {
        c
        for title in re.findall(r'(?:commands|section)\("([^"]+)"', Path(__file__).read_text())
        for c in commands(title)
    }
    for command, where in ELSEWHERE.items():
        assert command.split()[-1] in (Path(__file__).parent / where).read_text()
    assert written - run == set(ELSEWHERE)
