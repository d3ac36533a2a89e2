"""The Pi client built for aarch64 and armhf and run, under qemu-user and Debian's own Python, against the lab's servers.

Fetches Debian packages of the two architectures with apt (needs the network and a Debian or Ubuntu host).
"""

import pathlib
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import firmware_lab as lab

PACKAGES = [
    "libpython3.11-dev",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "python3.11-minimal",
    "libc6",
    "libcrypt1",
    "libssl3",
    "zlib1g",
    "libexpat1",
    "libffi8",
    "libbz2-1.0",
    "liblzma5",
    "libgcc-s1",
]


@dataclass(frozen=True)
class Machine:
    arch: str
    triple: str
    qemu: str
    name: str


MACHINES = [
    Machine("arm64", "aarch64-linux-gnu", "qemu-aarch64", "aarch64"),
    Machine("armhf", "arm-linux-gnueabihf", "qemu-arm", "armv7l"),
]


def run(*command: str, cwd: pathlib.Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sysroot(machine: Machine, work: pathlib.Path) -> pathlib.Path:
    """Debian 12's Python for the machine, unpacked; nothing is installed on this host."""
    for folder in ("state/lists/partial", "cache/archives/partial", "parts", "packages", "root"):
        (work / folder).mkdir(parents=True)
    (work / "state/status").touch()
    (work / "sources").write_text("deb http://deb.debian.org/debian bookworm main\n")
    options = {
        "APT::Architecture": machine.arch,
        "APT::Architectures": machine.arch,
        "APT::Sandbox::User": "root",
        "Dir::State": work / "state",
        "Dir::State::status": work / "state/status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": work / "sources",
        "Dir::Etc::sourceparts": work / "parts",
    }
    apt = ["apt-get", "-q", *(f"-o{k}={v}" for k, v in options.items())]
    run(*apt, "update")
    run(*apt, "download", *PACKAGES, cwd=work / "packages")
    for package in (work / "packages").glob("*.deb"):
        run("dpkg-deb", "-x", str(package), str(work / "root"))
    return work / "root"


@pytest.fixture(scope="module", params=MACHINES, ids=lambda m: m.arch)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The lab's `micropython` command, played by the client on an emulated Pi."""
    machine: Machine = request.param
    work = tmp_path_factory.mktemp(machine.arch)
    root, site, firmware = sysroot(machine, work), work / "site", lab.ROOT / "device_fw"
    shutil.copytree(firmware / "pi" / "blindsight_pi", site / "blindsight_pi")
    shutil.copytree(firmware / "app" / "bsdev", site / "bsdev")
    shutil.copy(firmware / "natmod" / "bsnative.py", site)
    include = [root / "usr/include/python3.11", root / "usr/include", firmware / "rlwe/include"]
    include += [firmware / "rlwe/src", firmware / "natmod"]
    sources = [site / "blindsight_pi/_core.c", *sorted((firmware / "rlwe/src").glob("*.c"))]
    command = [f"{machine.triple}-gcc", "-O2", "-std=c99", "-shared", "-fPIC", *(f"-I{p}" for p in include)]
    run(*command, *map(str, sources), "-o", str(site / "bsrlwe.abi3.so"))
    python = (
        f'PYTHONHOME="{root}/usr" PYTHONPATH="{site}" {machine.qemu} -L "{root}" "{root}/usr/bin/python3.11"'
    )
    script = work / "run"
    script.write_text(f'#!/bin/sh\nexec env {python} -m blindsight_pi "$4"\n')
    script.chmod(0o755)
    shown = run("sh", "-c", f"env {python} -c 'import platform; print(platform.machine())'")
    assert shown.strip() == machine.name
    return script


@pytest.mark.long
@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_an_emulated_pi_is_answered(
    client: pathlib.Path, mode: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "MICROPYTHON", str(client))
    provision = lab.Provision(tmp_path / "device", count=2, mode=mode)
    frames = provision.set_frames(2)
    servers = lab.Servers(provision)
    broker = lab.Broker(servers.receive)
    provision.config["broker"]["port"] = broker.port
    provision.config["timeout_s"] = 60
    provision.write()
    device = lab.Device(provision.path)
    assert device.wait(240) == 0, device.stderr
    assert sorted(servers.pixels.values()) == sorted(frames)
    for e in device.of("result"):
        assert e["index"] == lab.label_of(frames[e["frame"]])
    assert len(device.of("result")) == 2
    broker.close()
