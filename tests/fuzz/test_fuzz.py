"""Every parser takes its seeds and simple damage, and a few seconds of the fuzzer each (`make fuzz` for more)."""

import importlib.util
import os
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from targets import TARGETS  # noqa: E402

# by its path: tests/faults has a run.py too
_spec = importlib.util.spec_from_file_location("fuzz_run", HERE / "run.py")
assert _spec and _spec.loader
fuzz = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzz)
SECONDS = float(os.environ.get("FUZZ_SECONDS", "2"))


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_messages(name: str) -> None:
    """Seeds and corpus, cut short, altered, repeated, grown: the parser's own errors and nothing else."""
    parse, seeds = TARGETS[name]
    rng = random.Random(name)
    found = [p.read_bytes() for p in sorted((HERE / "corpus" / name).glob("*"))]
    for seed in [*seeds(), *found]:
        parse(seed)
        for _ in range(24):
            at = rng.randrange(len(seed) + 1)
            some = rng.randbytes(rng.choice((1, 1, 2, 4)))
            for changed in (
                seed[:at],
                seed[:at] + some + seed[at + len(some) :],
                seed[:at] + some + seed[at:],
                seed + seed[:at],
            ):
                parse(changed)


def with_long_names(seed: bytes) -> Iterator[bytes]:
    """A text seed with one name or string of it, or the number in it, long and unprintable, one after another."""
    for found in re.finditer(rb'"[^"\n]*"|[a-z_]+(?=\s*[=,\]\n])|\b\d+\b', seed[:2000]):
        for odd in (b"a" * 3000, b"a\\nb\\u001b[2J", b"a\nb\x1b[2J"):
            yield seed[: found.start()] + b'"' + odd + b'"' + seed[found.end() :]
        yield seed[: found.start()] + b"a" * 3000 + seed[found.end() :]


@pytest.mark.parametrize("name", TARGETS)
def test_errors_quote_little(name: str) -> None:
    """Whatever names and values a text holds: its error is one short printable line (`targets.register`)."""
    parse, seeds = TARGETS[name]
    for seed in seeds()[:8]:
        for changed in with_long_names(seed):
            parse(changed)


@pytest.mark.parametrize("name", [*TARGETS, *fuzz.native_sources()])
def test_a_short_run(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.getbasetemp() / "fuzz"
    scratch.mkdir(exist_ok=True)
    row = fuzz.run(name, SECONDS, scratch)
    assert row["finding"] is None, row["finding"]
    assert row["runs"] > 0


def test_the_seeds_reach_what_a_message_does() -> None:
    """Behind their checks: a result is classified on the board, a picture accepted by the cloud, blocks hashed."""
    from targets import firmware, ingress, wire

    inputs = {name: TARGETS[name][1]() for name in ("broker_packets", "arrivals", "blocks")}
    reached: list[str] = []

    def watch(owner: object, name: str) -> None:
        plain = getattr(owner, name)
        monkey.setattr(owner, name, lambda *a, **k: (reached.append(name), plain(*a, **k))[1])

    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(firmware.board("answer"), "open_sealed", firmware._unsealed)
        watch(firmware.board("answer"), "classify")
        watch(ingress.Pictures, "accept")
        watch(wire.Layout, "c1_hash")
        for name, seeds in inputs.items():
            for seed in seeds:
                TARGETS[name][0](seed)
    assert reached.count("classify") >= 2
    assert reached.count("accept") >= 6 and reached.count("c1_hash") >= 5
