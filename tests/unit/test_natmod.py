"""The C core inside a .mpy: loaded by MicroPython's unix port, and its blocks for boards run under QEMU."""

import importlib.util
import pathlib
import shlex
import subprocess
import sys
from types import ModuleType

import pytest

from blindsight.hw.qemu import TARGETS

ROOT = pathlib.Path(__file__).parents[2]
NATMOD = ROOT / "device_fw" / "natmod"
MICROPYTHON = str(pathlib.Path(sys.executable).with_name("micropython"))

SCRIPT = """
import json, sys
from bsdev.encrypt import Layout
from bsdev.keys import Stream
import bsnative
v = sys.argv[1] + "/device_"
with open(v + "keys.json") as f:
    keys = json.load(f)
with open(v + "picture.json") as f:
    pictures = json.load(f)["pictures"]
stream = Stream()
raw = bytes.fromhex
for p in pictures:
    pixels, seed = raw(p["pixels"]), raw(p["seed"])
    mode = ("rlwe", "rlwe-sk", "aes").index(p["mode"])
    layout = Layout(mode, len(pixels), p["polys_per_block"])
    if mode == 0:
        c = bsnative.Rlwe(layout, stream, raw(keys["pk"]))
    elif mode == 1:
        c = bsnative.RlweSk(layout, stream, raw(keys["shared_rlwe_secret_seed"]), raw(keys["result_base"]))
    else:
        c = bsnative.AesCtr(layout, stream, raw(keys["aes_key"]), raw(keys["result_base"]))
    c.begin(seed)
    for j in range(layout.blocks):
        block = b""
        for k in layout.block_polys(j):
            part = pixels[1024 * k : 1024 * k + layout.pixels_in(k)]
            c.pixels[: len(part)] = part
            block += bytes(c.first(k))
            block += bytes(c.second(k))
        assert block.hex() == p["blocks"][j], (p["mode"], j)
    assert c.nonce.hex() == p["nonce"]
    assert mode or c.result_base(seed).hex() == p["key_bytes"]
    print(p["mode"], layout.blocks)
try:
    c.begin(bytes(32))
    bsnative.RlweSk(layout, stream, bytes(32), b"")
except ValueError as e:
    print(e)
"""


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("natmod_build", NATMOD / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_same_bytes_on_the_unix_port(builder: ModuleType, tmp_path: pathlib.Path) -> None:
    builder.build("x64", tmp_path / "_bsnative.mpy")
    (tmp_path / "bsnative.py").write_text((NATMOD / "bsnative.py").read_text())
    (tmp_path / "run.py").write_text(SCRIPT)
    path = f"{tmp_path}:{ROOT / 'device_fw' / 'app'}:.frozen"
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=512k", str(tmp_path / "run.py"), str(ROOT / "tests" / "vectors")],
        capture_output=True,
        text=True,
        env={"MICROPYPATH": path},
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert lines[:-1] == ["rlwe 2", "rlwe 1", "rlwe-sk 2", "rlwe-sk 1", "aes 2", "aes 1"], (
        done.stdout + done.stderr
    )
    assert lines[-1] == "the native core refused: status -3"


@pytest.mark.parametrize(
    ("arch", "board"),
    [
        ("armv6m", "cortex-m0plus"),
        ("armv7emsp", "cortex-m4"),
        ("armv7em", "cortex-m7"),
        ("rv32imc", "rv32imc"),
    ],
)
def test_blocks_for_boards(builder: ModuleType, tmp_path: pathlib.Path, arch: str, board: str) -> None:
    target = TARGETS[board]
    block, elf = tmp_path / "block", tmp_path / "block-test.elf"
    block.write_bytes(builder.blob(arch, tmp_path))
    core, platform = ROOT / "device_fw" / "rlwe", ROOT / "hw" / "qemu" / "board"
    command = [f"{target.prefix}gcc", *shlex.split(target.flags), *shlex.split(target.build_flags)]
    for folder in (core / "include", core / "src", core / "test", platform, NATMOD):
        command += ["-I", str(folder)]
    command += ["-isystem", str(core / "freestanding"), f'-DBLOCK="{block}"', "-Wno-unused"]
    command += [str(NATMOD / "test_block.c"), str(core / "freestanding" / "mem.c")]
    command += [str(platform / f) for f in target.platform]
    # call.h names the core's functions; only the block has them
    command += ["-Wl,--unresolved-symbols=ignore-all", *shlex.split(target.link), "-o", str(elf)]
    built = subprocess.run(command, cwd=platform, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [*shlex.split(target.qemu), str(elf)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert "good" in done.stdout + done.stderr, done.stdout + done.stderr


def test_a_wrong_architecture_is_one_line(builder: ModuleType, tmp_path: pathlib.Path) -> None:
    with pytest.raises(builder.BuildError, match="one of x64"):
        builder.build("z80", tmp_path / "x.mpy")


def test_user_module_against_a_stand_in(tmp_path: pathlib.Path) -> None:
    """usermod/bsrlwe.c compiled against the few names of MicroPython that it uses."""
    core, stub = ROOT / "device_fw" / "rlwe", ROOT / "tests" / "unit" / "micropython_stub"
    include = [stub, core / "include", core / "test", NATMOD]
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-const-variable", "-g"]
    command += ["-fsanitize=address,undefined", *(f"-I{p}" for p in include), str(stub / "run.c")]
    command += [*map(str, sorted((core / "src").glob("*.c"))), "-o", str(tmp_path / "run")]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "good\n", done.stdout + done.stderr
    listed = (ROOT / "device_fw/usermod/micropython.cmake").read_text()
    assert all(f"src/{p.name}" in listed for p in (core / "src").glob("*.c"))


def test_esp_idf_component(tmp_path: pathlib.Path) -> None:
    """The component's CMake file registers sources that exist."""
    component = ROOT / "device_fw" / "rlwe"
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(p NONE)\nset(ESP_PLATFORM 1)\n"
        "function(idf_component_register)\n"
        'cmake_parse_arguments(A "" "" "SRCS;INCLUDE_DIRS" ${ARGN})\n'
        "foreach(f ${A_SRCS} ${A_INCLUDE_DIRS})\nif(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${f})\n"
        'message(FATAL_ERROR "${f} is missing")\nendif()\nendforeach()\nlist(LENGTH A_SRCS n)\n'
        f'message(STATUS "sources: ${{n}}")\nendfunction()\nadd_subdirectory({component} core)\n'
    )
    done = subprocess.run(
        ["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "b")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"sources: {len(list((component / 'src').glob('*.c')))}" in done.stdout
