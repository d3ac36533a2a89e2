"""One atheris target: `one.py TARGET SEEDS [libFuzzer options] [corpus folders]`; the target's own valid messages go to the
folder SEEDS. Exits with another code than 0 on a finding.
"""

import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

import atheris
from atheris.import_hook import AtherisSourceFileLoader

OURS = ("blindsight", "bsdev")


class PlainLoaders:
    """Finds our modules with Python's own loader.

    The loader of an editable install runs a module without asking for its code, which is where atheris instruments it.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in OURS:
            return None
        later = sys.meta_path[sys.meta_path.index(PlainLoaders) + 1 :]  # type: ignore[arg-type]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in later)), None)
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            spec.loader = SourceFileLoader(name, spec.origin)
        return spec


def main() -> None:
    sys.meta_path.insert(0, PlainLoaders)  # type: ignore[arg-type]
    # the whole run is inside: a target may import when it runs; tomllib shows the way into settings
    with atheris.instrument_imports(include=[*OURS, "tomllib"]):
        sys.path.insert(0, str(Path(__file__).parent))
        from targets import TARGETS

        if not isinstance(sys.modules["blindsight"].__loader__, AtherisSourceFileLoader):
            sys.exit("the code is not instrumented: the fuzzer would be blind")
        run, seeds = TARGETS[sys.argv.pop(1)]
        folder = Path(sys.argv.pop(1))
        for number, seed in enumerate(seeds()):
            (folder / f"seed-{number}").write_bytes(seed)
        atheris.Setup(sys.argv, run)
        atheris.Fuzz()


main()
