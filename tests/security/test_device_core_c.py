"""The C core built stand-alone: strict warnings, sanitizers, constant time under valgrind, a short fuzz run.

Constant time means: no branch and no address depends on seeds, secrets or pixels, in the code a compiler made for this
host. The negative control branches on a secret and must be reported.
"""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CORE = ROOT / "device_fw" / "rlwe"
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
SOURCES = [str(p) for p in sorted((CORE / "src").glob("*.c"))]


def build(out: pathlib.Path, *flags: str, compiler: str = "gcc", files: tuple[str, ...] = ()) -> str:
    include = ["-I", str(CORE / "include"), "-I", str(CORE / "src")]
    command = [compiler, *flags, *include, *SOURCES, *(str(CORE / "test" / f) for f in files), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(out)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3"])
def test_known_answers_with_strict_warnings(tmp_path: pathlib.Path, compiler: str, level: str) -> None:
    program = build(tmp_path / "kat", *STRICT, level, compiler=compiler, files=("kat.c", "test_kat.c"))
    assert run(program).returncode == 0


def test_sixteen_bit_products_give_the_same_answers(tmp_path: pathlib.Path) -> None:
    """The path of cores without a high product (ESP8266, Cortex-M0+), forced on the host."""
    program = build(tmp_path / "kat", *STRICT, "-O2", "-D__ARM_ARCH_6M__", files=("kat.c", "test_kat.c"))
    assert run(program).returncode == 0


@pytest.mark.parametrize("files", [("kat.c", "test_kat.c"), ("test_api.c",)], ids=["kat", "api"])
def test_sanitizers(tmp_path: pathlib.Path, files: tuple[str, ...]) -> None:
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    done = run(build(tmp_path / "program", *STRICT, *flags, compiler="clang", files=files))
    assert done.returncode == 0, done.stdout + done.stderr


def test_refusals_in_a_release_build(tmp_path: pathlib.Path) -> None:
    done = run(build(tmp_path / "api", *STRICT, "-O3", "-DNDEBUG", files=("test_api.c",)))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("compiler", "level"), [("gcc", "-O2"), ("gcc", "-O3"), ("clang", "-O2"), ("clang", "-Os")]
)
def test_constant_time(tmp_path: pathlib.Path, compiler: str, level: str) -> None:
    declassify = ["-include", "valgrind/memcheck.h", "-DBS_DECLASSIFY=VALGRIND_MAKE_MEM_DEFINED"]
    program = build(
        tmp_path / "ct", "-std=gnu99", level, *declassify, compiler=compiler, files=("test_ct.c",)
    )
    done = run("valgrind", "-q", "--error-exitcode=9", program)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["rlwe", "rlwe-sk", "aes"]
    control = run("valgrind", "-q", "--error-exitcode=9", program, "leak")
    assert control.returncode == 9 and "depends on uninitialised" in control.stderr


def test_fuzz_a_little(tmp_path: pathlib.Path) -> None:
    flags = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    done = run(
        build(tmp_path / "fuzz", *flags, compiler="clang", files=("fuzz.c",)), "-runs=10000", "-seed=7"
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("script", "output"), [("test/make_vectors.py", "test/vectors.h"), ("tools/make_roots.py", "src/roots.c")]
)
def test_generated_files_are_current(script: str, output: str) -> None:
    done = run(sys.executable, str(CORE / script))
    assert done.returncode == 0 and done.stdout == (CORE / output).read_text()


def test_the_vectors_are_what_their_script_makes(tmp_path: pathlib.Path) -> None:
    vectors = ROOT / "tests" / "vectors"
    script = tmp_path / "make_device.py"
    script.write_text((vectors / "make_device.py").read_text())
    assert run(sys.executable, str(script)).returncode == 0
    made = sorted(tmp_path.glob("device_*.json"))
    assert len(made) == 8
    for path in made:
        assert path.read_text() == (vectors / path.name).read_text(), path.name
