"""The fault suite: real services, TLS, Mosquitto; every run a fault at a random moment, and a SIGKILL at another.

`python tests/faults/run.py --runs N [--seed S]` prints one JSON line: injected, effective (those that were seen to hit
something, where that can be seen), pictures, answered, failed (reported to the device; `failures`: why), lost, duplicated,
material_reused, burnt (slots of both parties), plaintext_found, and the faults by kind (`idle`: of which without effect).
The invariant, `broken`: every picture is answered once with the float network's label, but for a few that are reported
failed and stay so; no slot of material is burnt twice, and no pixels or keys lie in any log or store.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from inject import FAULTS, KILLS, Seen
from place import Place

from blindsight.wire import result

PATIENCE_S = 120.0
# The one failure that a fault may bring about: a picture's attempts are counted, and a server that is away for long uses
# them up. 200 runs had none in 1,248 pictures (RESULT.md).
MAY_FAIL, FEW = result.FailureCode.GAVE_UP, 0.03


class Tally:
    """What has been counted so far."""

    def __init__(self) -> None:
        self.counts, self.kinds, self.idle, self.failures = (collections.Counter[str]() for _ in range(4))


def one_run(place: Place, rng: random.Random, fault: str, tally: Tally) -> None:
    """Pictures of every device, one fault and one SIGKILL among them, then every answer."""
    sent: list[tuple[kit.Client, kit.Parcel]] = []
    for device, client in zip(place.devices, place.clients, strict=True):
        for _ in range(2):
            parcel = device.picture(place.x[rng.randrange(len(place.x))].tobytes())
            client.send(parcel)
            sent.append((client, parcel))
    injected: list[tuple[str, Seen]] = []
    for name in rng.sample([fault, rng.choice(sorted(KILLS))], 2):
        time.sleep(rng.uniform(0, 1))
        injected.append((name, {**FAULTS, **KILLS}[name](place, rng)))
    sent, place.extra = sent + place.extra, []
    counts = tally.counts
    for client, parcel in sent:
        place.canaries.add(canary(parcel.pixels))
        place.sent.append((client, parcel.image))
        counts["pictures"] += 1
        try:
            message = client.wait(parcel, seconds=PATIENCE_S, resend_s=2)
        except AssertionError:
            counts["lost"] += 1
            continue
        assert message is not None
        answer = result.parse(message)
        if isinstance(answer, result.Failure):
            counts["failed"] += 1
            tally.failures[f"{answer.code.name}: {answer.reason}"] += 1
            continue
        counts["answered"] += 1
        counts["wrong"] += int(parcel.open(message) != place.label[parcel.pixels])
    for name, seen in injected:
        tally.kinds[name] += 1
        tally.idle[name] += not seen()
    counts["injected"] += len(injected)
    for proxy in place.nets.values():
        proxy.count()  # what was not met by now is not the next run's


def canary(pixels: bytes) -> bytes:
    """The most particular 24 bytes of a picture: found anywhere, they are no accident."""
    return max((pixels[i : i + 24] for i in range(len(pixels) - 24)), key=lambda w: len(set(w)))


def suite(runs: int, seed: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The whole suite; `say` gets a line a run."""
    rng, tally = random.Random(seed), Tally()
    place = Place(folder)
    order: list[str] = []
    counts = tally.counts
    stop = threading.Event()  # SIGTERM: no further run; what was counted is reported
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        for i in range(runs):
            if stop.is_set():
                break
            if not order:
                order = rng.sample(sorted(FAULTS), len(FAULTS))
            fault = order.pop()
            started = time.monotonic()
            one_run(place, rng, fault, tally)
            counts["runs"] += 1
            say(
                f"{i + 1}/{runs} {fault}: {counts['answered']} of {counts['pictures']} answered, {time.monotonic() - started:.1f} s"
            )
        # Whatever came for a picture, at any time: two different answers, or an answer after a failure, are one too many.
        counts["duplicated"] = sum(
            len(set(client.answers.get(image, ()))) > 1 for client, image in place.sent
        )
        burnt, reused, found = len(place.burnt()), place.reused(), place.found()
    finally:
        place.stop()
    counts["effective"] = counts["injected"] - tally.idle.total()
    names = ("runs", "injected", "effective", "pictures", "answered", "failed", "lost", "duplicated", "wrong")
    return {
        **{n: counts[n] for n in names},
        "material_reused": reused,
        "burnt": burnt,
        "plaintext_found": found,
        "seed": seed,
        "faults": dict(sorted(tally.kinds.items())),
        "idle": dict(sorted((+tally.idle).items())),
        "failures": dict(tally.failures),
    }


def broken(report: dict[str, Any]) -> list[str]:
    """What of the invariant a report breaks, or shows too little for; empty if nothing."""
    none = ("lost", "duplicated", "wrong", "material_reused", "plaintext_found")
    out = [name for name in none if report[name]]
    few = max(1, int(FEW * report["pictures"]))
    if report["failed"] > few or any(not why.startswith(MAY_FAIL.name) for why in report["failures"]):
        out.append("failed")
    if not 0 < report["answered"] == report["pictures"] - report["failed"] - report["lost"]:
        out.append("answered")
    if (
        report["burnt"] < 2 * report["answered"]
    ):  # each party burns a slot a picture, or nothing was looked at
        out.append("burnt")
    if not 0 < report["injected"] == 2 * report["runs"] or report["effective"] < 0.75 * report["injected"]:
        out.append("effective")
    return out


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=len(FAULTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blindsight-faults-") as folder:
        report = suite(
            options.runs,
            options.seed,
            options.keep or Path(folder),
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(json.dumps(report))
    return int(bool(broken(report)))


if __name__ == "__main__":
    sys.exit(main())
