"""The soak: pictures without a pause, and memory, open files and files on disk stay flat.

`python tests/faults/soak.py --minutes M` prints one JSON line: minutes, pictures, answered, wrong, material_reused, burnt
(slots of both parties), and for each service what it held after a warm-up of a third of the time and at the end: `rss_mib`
(of its own: RssAnon, without the pages of libraries and files), `fds`, `threads`, `files`; `flat` says whether none grew.
`disk_bytes_a_picture` is what a picture leaves behind in both stores (ids and hashes).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parent))
from place import Place

from blindsight.wire import result

SAMPLE_S = 1.0
SLACK = {
    "rss_mib": 24.0,
    "fds": 6.0,
    "threads": 4.0,
    "files": 12.0,
}  # of the middle third's median, beside 5 %


def held(place: Place, name: str) -> dict[str, float]:
    """What one service holds now."""
    process = getattr(place, name).process
    proc = Path("/proc") / str(process.pid)
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    folder = place.folder / ("broker" if name == "broker" else f"site/{name}")
    return {
        "rss_mib": int(status["RssAnon"].split()[0]) / 1024,
        "fds": len(list((proc / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "files": sum(1 for _ in folder.rglob("*")),
    }


def stored(place: Place) -> int:
    """Bytes of both stores."""
    return sum(
        p.stat().st_size for who in ("cloud", "helper") for p in (place.folder / "site" / who).glob("*.db*")
    )


def soak(minutes: float, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Sends pictures of all devices, a handful at a time, until the time is over."""
    place, rng = Place(folder), random.Random(1)
    services = ("cloud", "helper", "broker")
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in services}
    sizes: list[tuple[int, int]] = []
    answered = pictures = wrong = 0
    begin = last = time.monotonic()
    try:
        while time.monotonic() - begin < 60 * minutes:
            sent = []
            for device, client in zip(place.devices, place.clients, strict=True):
                for _ in range(2):
                    parcel = device.picture(place.x[rng.randrange(len(place.x))].tobytes())
                    client.send(parcel)
                    sent.append((client, parcel))
            for client, parcel in sent:
                pictures += 1
                message = client.wait(parcel, seconds=120, resend_s=30)
                assert message is not None
                if isinstance(result.parse(message), result.Result):
                    answered += 1
                    wrong += parcel.open(message) != place.label[parcel.pixels]
                del client.answers[parcel.image]
            if time.monotonic() - last > SAMPLE_S:
                last = time.monotonic()
                for name in services:
                    samples[name].append(held(place, name))
                sizes.append((pictures, stored(place)))
                if len(sizes) % 60 == 1:
                    say(f"{(last - begin) / 60:.1f} min, {pictures} pictures: {samples['cloud'][-1]}")
    finally:
        place.stop()
    third = len(sizes) // 3
    report: dict[str, Any] = {
        "minutes": minutes,
        "pictures": pictures,
        "answered": answered,
        "wrong": int(wrong),
        "material_reused": place.reused(),
        "burnt": len(place.burnt()),
    }
    grown = []
    for name in services:
        report[name] = {}
        for what, slack in SLACK.items():
            middle, end = (
                statistics.median(s[what] for s in part)
                for part in (samples[name][third : 2 * third], samples[name][2 * third :])
            )
            report[name][what] = [round(middle, 1), round(end, 1)]
            if end > 1.05 * middle + slack:
                grown.append(f"{name} {what}")
    (n1, b1), (n2, b2) = sizes[third], sizes[-1]
    report["disk_bytes_a_picture"] = round((b2 - b1) / max(1, n2 - n1))
    report["grown"], report["flat"] = grown, not grown
    return report


def broken(report: dict[str, Any]) -> list[str]:
    """What of that a report breaks, or shows too little for; empty if nothing."""
    out = [name for name in ("wrong", "material_reused") if report[name]] + report["grown"]
    if not 0 < report["answered"] == report["pictures"]:
        out.append("answered")
    if report["burnt"] < 2 * report["answered"]:  # a slot a picture and party, or nothing was looked at
        out.append("burnt")
    return out


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blindsight-soak-") as folder:
        report = soak(options.minutes, Path(folder), lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(report))
    return int(bool(broken(report)))


if __name__ == "__main__":
    sys.exit(main())
