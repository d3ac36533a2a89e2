"""What the firmware asks of a board's memory, measured on the 64-bit unix port (code takes about half on 32 bits)."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import firmware_lab as lab

SCRIPTS = Path(__file__).parent / "firmware_scripts"


def _run(
    tmp_path: Path, heap: str, main: Path | None = None, frames: int = 2, **settings: Any
) -> tuple[lab.Provision, lab.Servers, lab.Device]:
    provision = lab.Provision(tmp_path / "device", count=frames, **settings)
    if not provision.config["camera"].get("format"):
        provision.set_frames(frames)
    servers = lab.Servers(provision)
    broker = lab.Broker(servers.receive)
    provision.config["broker"]["port"] = broker.port
    provision.write()
    device = lab.Device(provision.path, heap, main, args=(str(lab.APP),) if main else ())
    assert device.wait(180) == 0, device.stderr
    broker.close()
    assert len(device.of("result")) == frames and device.stderr.count("Error") == 0
    return provision, servers, device


def test_128_kib_and_some_to_spare(tmp_path: Path) -> None:
    """32x32x3 in rlwe mode: within -X heapsize=128k, and still within 112k."""
    _, _, device = _run(tmp_path / "a", "128k")
    heap = device.of("heap")[-1]
    assert heap["live"] <= heap["peak"] <= heap["total"] <= 128 * 1024
    assert heap["live"] < 100 * 1024
    _run(tmp_path / "b", "112k")


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_no_allocation_over_8_kib(tmp_path: Path, mode: str) -> None:
    """From the first import to the last answer, in a heap with no hole larger than 8 KiB."""
    _, _, device = _run(tmp_path, "320k", SCRIPTS / "pinned.py", mode=mode)
    found = re.search(r"max free sz: (\d+)", device.stderr)  # blocks of 32 bytes
    assert found and int(found[1]) * 32 <= 8192 + 32


def _frame_module() -> Any:
    spec = importlib.util.spec_from_file_location("firmware_frame", lab.APP / "bsdev" / "frame.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_224x224x3_streams_from_the_camera_buffer(tmp_path: Path) -> None:
    """150,528 pixels out of a 320x240 RGB565 frame, both larger than the heap, in the RAM of a 32x32x3 picture."""
    _, _, small = _run(tmp_path / "small", "128k", frames=1)
    directory = tmp_path / "large"
    (directory / "device").mkdir(parents=True)
    raw = np.random.default_rng(3).integers(0, 256, 320 * 240 * 2, dtype=np.uint8).tobytes()
    (directory / "device" / "frames.bin").write_bytes(raw)
    camera = {"kind": "replay", "path": "frames.bin", "format": "rgb565", "width": 320, "height": 240}
    _, servers, large = _run(
        directory, "128k", frames=1, height=224, width=224, channels=3, camera=camera, polys_per_block=4, timeout_s=60
    )  # fmt: skip  # the lab's servers decrypt 147 polynomials before they acknowledge the manifest
    (image,) = servers.pixels
    assert servers.pixels[image] == _frame_module().resize(raw, "rgb565", (320, 240), (224, 224, 3))
    assert servers.largest == 4 * 3840 and len(servers.blocks[image]) == 37
    # beyond the small picture's: two rows of pixels, a row of sums, 64 bytes a block
    more = large.of("heap")[-1]["live"] - small.of("heap")[-1]["live"]
    assert more < 8 * 1024, more


def test_a_thousand_labels_stay_on_flash(tmp_path: Path) -> None:
    labels = [f"class number {i}, with a longish name" for i in range(1000)]
    plain = json.dumps(labels)
    assert len(plain) > 36_000
    _, servers, device = _run(tmp_path, "128k", labels=labels)
    for e in device.of("result"):
        index = lab.label_of(servers.pixels[e["image"]])
        assert e["label"] == labels[index] and e["index"] == index
