"""`python -m blindsight.hw.qemu [TARGET..]` measures and writes hw/measured/*.json (all targets by default)."""

import json
import sys
from pathlib import Path

from blindsight.hw.qemu import TARGETS, measure

FOLDER = Path(__file__).resolve().parents[1] / "measured"


def main(names: list[str]) -> None:
    """Write one file a target."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or list(TARGETS):
        result = measure(name)
        (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        row = {mode: r["instructions"] for mode, r in result["modes"].items()}
        print(f"{name}: {row}, code {result['code_bytes']}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
