"""Runs the fuzzers: `run.py [--seconds S] [--only NAME] [--jobs N] [--book FILE] [--list] [--json]`; a finding is the exit
status 1 and its input.

Python parsers run under atheris, C and C++ ones under libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer
(clang). Each starts from `corpus/NAME` and the product's own valid messages; new inputs stay in the scratch folder.
`--seconds` is CPU time a target, of one thread: on a busy machine a target is started again until it has had that much.
`--book` is a JSON file of what targets have had so far, which a run that was stopped goes on from.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NATIVE_FLAGS = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"]
FEWEST_EDGES = 8  # of any parser's code, behind its valid messages
RLWE = ROOT / "device_fw" / "rlwe"


def native_sources() -> dict[str, tuple[str, list[Path], list[Path]]]:
    """name -> (compiler, sources, include folders) of the C and C++ targets."""
    core = sorted((RLWE / "src").glob("*.c"))
    linear = [HERE / "native" / "linear.cpp", *(
        ROOT / "native" / "src" / f"{n}.cpp" for n in (
            "chacha", "cpu", "ntt_tables", "ring_avx2", "ring_ifma", "ring_kernels", "ring_neon", "ring_portable",
            "rlwe_evaluator", "rlwe_owner", "rlwe_ring", "rlwe_sample",
        )
    )]  # fmt: skip
    return {
        "device-core": ("clang", [*core, RLWE / "test" / "fuzz.c"], [RLWE / "include", RLWE / "src"]),
        "native-linear": ("clang++", linear, [ROOT / "native" / "include"]),
    }


def build(name: str, folder: Path) -> Path:
    """The harness, compiled once."""
    compiler, sources, includes = native_sources()[name]
    out = folder / f"{name}.bin"
    if not out.exists():
        standard = "-std=c++20" if compiler.endswith("++") else "-std=c99"
        flags = [*NATIVE_FLAGS, standard, "-pthread", *(f"-I{i}" for i in includes)]
        found = shutil.which(compiler)
        if found is None:
            sys.exit(f"{compiler} is missing: apt-get install clang")
        subprocess.run([found, *flags, *map(str, sources), "-o", str(out)], check=True)
    return out


def _path() -> str:
    return os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))


def run(name: str, seconds: float, scratch: Path) -> dict[str, Any]:
    """One target; the row of the report."""
    total: dict[str, Any] = {
        "target": name,
        "runs": 0,
        "cpu_s": 0.0,
        "wall_s": 0.0,
        "edges": 0,
        "finding": None,
    }
    while total["finding"] is None and total["cpu_s"] < 0.98 * seconds:
        row = once(name, seconds - total["cpu_s"], scratch)
        for key in ("runs", "cpu_s", "wall_s"):
            total[key] = round(total[key] + row[key], 1)
        total["edges"] = max(total["edges"], row["edges"])
        total["finding"] = row["finding"]
    return total


def once(name: str, seconds: float, scratch: Path) -> dict[str, Any]:
    """One target, once, for that much time by the clock."""
    corpus, kept = scratch / name, HERE / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    python = [sys.executable, str(HERE / "one.py"), name, str(corpus)]
    command = [str(build(name, scratch))] if name in native_sources() else python
    limits = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1", "-verbosity=1"]
    artefacts = f"-artifact_prefix={scratch}/{name}-"
    folders = [str(corpus), *([str(kept)] if kept.is_dir() else [])]
    before, started = _cpu(), time.monotonic()
    done = subprocess.run(
        [*command, f"-max_total_time={max(1, round(seconds))}", artefacts, *limits, *folders],
        capture_output=True, text=True, errors="replace",
        env={**os.environ, "PYTHONPATH": _path(), "OMP_NUM_THREADS": "1", "ASAN_OPTIONS": "detect_leaks=0"},
    )  # fmt: skip
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    edges = max(map(int, re.findall(r"\bcov: (\d+)", done.stderr)), default=0)
    finding = _finding(done.stderr + done.stdout) if done.returncode or not found else None
    if finding is None and edges < FEWEST_EDGES:
        finding = f"only {edges} edges of the code are seen: it is not instrumented, and the fuzzer is blind"
    return {
        "runs": int(found[1]) if found else 0, "cpu_s": _cpu() - before, "wall_s": time.monotonic() - started,
        "edges": edges, "finding": finding,
    }  # fmt: skip


def several(targets: dict[str, float], jobs: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """The targets' rows as they end, `jobs` of them at a time; `targets` maps each to its CPU seconds."""
    # processes, not threads: a target's CPU time is read as that of its process's children
    with ProcessPoolExecutor(jobs) as pool:
        rows = [pool.submit(run, name, seconds, scratch) for name, seconds in targets.items()]
        yield from (row.result() for row in as_completed(rows))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _finding(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    marks = [i for i, line in enumerate(lines) if "Uncaught Python exception" in line or "ERROR:" in line]
    return "\n".join(lines[marks[0] : marks[0] + 30] if marks else lines[-12:])


def names() -> list[str]:
    """All targets."""
    sys.path.insert(0, str(HERE))
    from targets import TARGETS

    return [*TARGETS, *native_sources()]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", action="append")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--book", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(names()))
        return
    options.scratch.mkdir(parents=True, exist_ok=True)
    book = json.loads(options.book.read_text()) if options.book and options.book.exists() else {}
    had = {name: book.get(name, {"runs": 0, "cpu_s": 0.0, "edges": 0}) for name in options.only or names()}
    left = {n: options.seconds - h["cpu_s"] for n, h in had.items() if h["cpu_s"] < 0.98 * options.seconds}
    rows = []
    for row in several(left, options.jobs, options.scratch):
        name = row["target"]
        rows.append(row)
        if options.book and row["finding"] is None:
            book[name] = {key: round(had[name][key] + row[key], 1) for key in ("runs", "cpu_s")}
            book[name]["edges"] = max(had[name]["edges"], row["edges"])
            options.book.write_text(json.dumps(book, indent=1))
        shown = "no finding" if row["finding"] is None else f"FINDING\n{row['finding']}"
        print(
            f"{name}: {row['runs']} runs, {row['cpu_s']} CPU s, {row['edges']} edges, {shown}",
            file=sys.stderr,
            flush=True,
        )
    if options.json:
        print(json.dumps({"targets": rows}))
    sys.exit(any(row["finding"] for row in rows))


if __name__ == "__main__":
    main()
