"""One and two ingress processes, each with a worker pair, on one store: the same pictures in two orders.

`python tests/faults/scale.py --pictures N` prints one JSON line: `cores`, `load_before` (of others, a minute's mean), for
each set-up `pictures_per_s` (from the first message to the last answer, material at hand), `speedup`, and what must hold:
`order_independent` (the same answer for the same picture in either order and set-up), `wrong`, `material_reused`, `burnt`
(slots of both parties: two a picture), and how the work was divided.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parent))
from place import Place

DEVICES = {f"cam-{i}": "rlwe" for i in range(8)}
ORDERS = 2


def measure(clouds: int, pictures: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """One set-up: makes the material, then sends the pictures in each order."""
    slots = ORDERS * pictures  # a pair may take more than its share
    workers = f"retry_s = 0.05\nmaterial_low = {slots}\nmaterial_high = {slots}\nmaterial_batch = 16\n"
    place = Place(folder, clouds, workers, DEVICES)
    answers: list[dict[bytes, int]] = []
    seconds: list[float] = []
    try:
        deadline = time.monotonic() + 3600
        while (
            min(sum(e["slots"] for e in c.events() if e["event"] == "material-made") for c in place.clouds)
            < slots
        ):
            assert time.monotonic() < deadline, "no material"
            time.sleep(0.5)
        for order in range(ORDERS):
            chosen = [place.x[i].tobytes() for i in range(pictures)]
            random.Random(order).shuffle(chosen)
            sent = []
            begin = time.monotonic()
            for i, pixels in enumerate(chosen):
                parcel = place.devices[i % len(place.devices)].picture(pixels)
                client = place.clients[i % len(place.clients)]
                client.send(parcel)
                sent.append((client, parcel))
            found = {}
            for client, parcel in sent:
                message = client.wait(parcel, seconds=600, resend_s=60)
                assert message is not None
                found[parcel.pixels] = parcel.open(message)
            seconds.append(time.monotonic() - begin)
            answers.append(found)
            say(
                f"{clouds} ingress, {clouds} pairs, order {order + 1}: {pictures / seconds[-1]:.2f} pictures a second"
            )
        shares = [c.count("answered") for c in place.clouds]
        return {
            "ingress": clouds, "pairs": clouds, "pictures": pictures, "seconds": round(min(seconds), 2),
            "pictures_per_s": round(pictures / min(seconds), 2), "answered_by_pair": shares,
            "accepted_by_ingress": [c.count("accepted") for c in place.clouds],
            "wrong": sum(found[p] != place.label[p] for found in answers for p in found),
            "material_reused": place.reused(), "burnt": len(place.burnt()), "_answers": answers,
        }  # fmt: skip
    finally:
        place.stop()


def scale(pictures: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Both set-ups."""
    load = os.getloadavg()[0]
    runs = [measure(n, pictures, folder / str(n), say) for n in (1, 2)]
    answers = [found for run in runs for found in run.pop("_answers")]
    return {
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "runs": runs,
        "speedup": round(runs[1]["pictures_per_s"] / runs[0]["pictures_per_s"], 2),
        "order_independent": all(found == answers[0] for found in answers),
        "wrong": sum(run["wrong"] for run in runs),
        "material_reused": sum(run["material_reused"] for run in runs),
        "burnt": sum(run["burnt"] for run in runs),
    }


def broken(report: dict[str, Any]) -> list[str]:
    """What of that a report breaks, or shows too little for; empty if nothing."""
    out = [name for name in ("wrong", "material_reused") if report[name]]
    if not report["order_independent"]:
        out.append("order_independent")
    answered = sum(sum(run["answered_by_pair"]) for run in report["runs"])
    if not 0 < 2 * answered <= report["burnt"]:
        out.append("burnt")
    return out


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blindsight-scale-") as folder:
        report = scale(options.pictures, Path(folder), lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(report))
    return int(bool(broken(report)))


if __name__ == "__main__":
    sys.exit(main())
