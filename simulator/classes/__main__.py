"""`python -m blindsight.simulator.classes`: prints the class counts of one program as JSON."""

import argparse
import json
from pathlib import Path

from blindsight.simulator.classes import count


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elf", type=Path, required=True)
    parser.add_argument("--prefix", required=True, help="toolchain prefix, e.g. arm-none-eabi-")
    parser.add_argument("--qemu", required=True, help="command up to the ELF's path")
    given = parser.parse_args()
    print(json.dumps(count(given.elf, given.prefix, given.qemu), sort_keys=True))


if __name__ == "__main__":
    main()
