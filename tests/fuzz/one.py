"""One atheris target: `one.py TARGET SEEDS [libFuzzer options] [corpus folders]`; the target's own valid messages go to the
folder SEEDS. Exits with another code than 0 on a finding.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["blindsight", "bsdev"]):
    sys.path.insert(0, __file__.rsplit("/", 1)[0])
    from targets import TARGETS


def main() -> None:
    run, seeds = TARGETS[sys.argv.pop(1)]
    folder = Path(sys.argv.pop(1))
    for number, seed in enumerate(seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


main()
