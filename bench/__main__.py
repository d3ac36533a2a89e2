"""`make bench`: every benchmark in turn; each writes bench/results/NAME.csv.

    python -m bench [--quick] [NAME ...]

A script that fails leaves its earlier table and the others alone, and is named at the end. Two cores are shared by both
parties, and figures depend on what else the machine was doing: compare within a run (`load` is in every row).
"""

import argparse
import subprocess
import sys
import time

TABLES = ("ntt", "ot", "relu", "protocols", "linear", "infer", "layers", "links", "scaling")


def main() -> int:
    parser = argparse.ArgumentParser(description="Every benchmark in turn.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TABLES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, into build/bench")
    args = parser.parse_args()
    if unknown := set(args.names) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}: there are {', '.join(TABLES)}")
    names, failed, start = args.names or list(TABLES), [], time.monotonic()
    for i, name in enumerate(names, 1):
        began = time.monotonic()
        print(f"[{i}/{len(names)}] {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"bench.{name}", *(["--quick"] if args.quick else [])]
        if subprocess.run(command).returncode:
            failed.append(name)
        print(f"[{i}/{len(names)}] {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    verdict = f"failed: {', '.join(failed)}" if failed else "all written"
    print(f"{len(names)} tables in {time.monotonic() - start:.0f} s, {verdict}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
