"""LAN beside WAN, per model: loopback as it is, and 100 Mbit/s with 40 ms a round trip, shaped in the channel.

    python -m bench.links [--quick] [--json]

On the WAN a picture waits `rounds` times 40 ms, and its bytes pass at 12.5 MB a second each way.
"""

from bench.infer import models
from bench.table import Row, infer, main

COUNT = {"vgg16": 2}
KEYS = (
    "model",
    "link",
    "count",
    "online_s",
    "offline_s",
    "online_bytes",
    "offline_bytes",
    "rounds",
    "setup_s",
    "agreement",
)


def measure(quick: bool) -> list[Row]:
    rows = []
    for name in models()[: 1 if quick else None]:
        for link in ("lan", "wan"):
            count = "2" if quick else str(COUNT.get(name, 8))
            row = infer(name, "--count", count, "--link", link)
            rows.append({k: row[k] for k in KEYS})
    return rows


if __name__ == "__main__":
    main("links", __doc__, measure)
