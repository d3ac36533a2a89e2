"""The whole firmware on a board's look-alike: radio, watchdog, clock and camera modules as an ESP32 build has them."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import firmware_lab as lab

UNIT = Path(__file__).parents[1] / "unit" / "firmware_scripts"
SCRIPTS = Path(__file__).parent / "firmware_scripts"


def test_esp32_camera_and_wifi(tmp_path: Path) -> None:
    """QQVGA RGB565 frames become the model's 32x32x3, bit for bit what the host's resize makes of them."""
    directory = tmp_path / "device"
    camera = {"kind": "esp32", "format": "rgb565", "frame_size": "QQVGA", "pins": {"sda_pin": 11}}
    provision = lab.Provision(
        directory, camera=camera, wifi={"ssid": "home", "password": "pw"}, watchdog_s=5, count=2
    )
    for script in (UNIT / "network.py", UNIT / "machine.py", SCRIPTS / "camera.py"):
        shutil.copy(script, directory)
    servers = lab.Servers(provision)
    broker = lab.Broker(servers.receive)
    provision.config["broker"]["port"] = broker.port
    provision.write()
    device = lab.Device(directory, heap="256k")  # the look-alike's frame buffer is in the heap
    assert device.wait(30) == 0, device.stderr
    broker.close()
    assert len(device.of("result")) == 2
    assert "no frame" in device.of("skipped")[0]["reason"]
    spec = importlib.util.spec_from_file_location("firmware_frame", lab.APP / "bsdev" / "frame.py")
    assert spec and spec.loader
    frame = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(frame)
    for e in device.of("result"):
        count = e["frame"] + 2
        raw = bytes((i * i // 5 + 3 * i + count) & 255 for i in range(160 * 120 * 2))
        assert servers.pixels[e["image"]] == frame.resize(raw, "rgb565", (160, 120), (32, 32, 3))


@pytest.mark.parametrize(
    "change,words",
    [
        ({"mode": "rsa"}, "mode is one of aes, rlwe, rlwe-sk"),
        ({"device": "Cam 1"}, "device is 1 to 32 characters"),
        ({"device": "fleet"}, "reserved"),
        ({"plan_hash": "12"}, "plan_hash is 64 hex digits"),
        ({"polys_per_block": 17}, "polys_per_block is a number from 1 to 16"),
        ({"height": 4000, "width": 4000, "polys_per_block": 1}, "raise polys_per_block"),
        ({"channels": 2}, "channels is 1 or 3"),
        ({"broker": {"host": "x"}}, "broker needs host and port"),
        ({"broker": {"host": "x", "port": 1, "tls": True}}, "broker.tls needs broker.ca"),
        ({"broker": {"host": "x", "port": 1, "user": "u", "password": "p"}}, "password without broker.tls"),
        ({"camera": {"kind": "webcam"}}, "camera.kind webcam: use replay, synthetic or esp32"),
        ({"camera": {"kind": "replay", "path": "none.bin"}}, "none.bin"),
        ({"camera": {"kind": "synthetic", "format": "jpeg"}}, "camera format jpeg"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    """One clear line on standard error, exit code 2."""
    provision = lab.Provision(tmp_path / "device")
    provision.set_frames(1)
    provision.config.update(change)
    provision.write()
    device = lab.Device(provision.path)
    assert device.wait() == 2
    assert (
        device.stderr.startswith("blindsight: ") and device.stderr.count("\n") == 1 and words in device.stderr
    )


@pytest.mark.parametrize(
    "name,content",
    [("config.json", None), ("config.json", b"{"), ("secret.bin", b"x" * 31), ("pk.bin", None)],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    provision = lab.Provision(tmp_path / "device")
    provision.set_frames(1)
    if content is None:
        (provision.path / name).unlink()
    else:
        (provision.path / name).write_bytes(content)
    device = lab.Device(provision.path)
    assert device.wait() == 2
    assert device.stderr.startswith("blindsight: ") and name in device.stderr and "provision" in device.stderr
