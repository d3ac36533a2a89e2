"""One atheris target: `one.py TARGET [libFuzzer options] [corpus folders]`. Exits with another code than 0 on a finding."""

import sys

import atheris

with atheris.instrument_imports(include=["blindsight", "bsdev"]):
    sys.path.insert(0, __file__.rsplit("/", 1)[0])
    from targets import TARGETS


def main() -> None:
    run, _ = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


main()
