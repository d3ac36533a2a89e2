"""Per layer: milliseconds, bytes and rounds online of every operation of every model, over loopback.

python -m bench.layers [--quick] [--json]
"""

from bench.infer import models
from bench.table import Row, infer, main


def measure(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for name in models()[: 1 if quick else None]:
        report = infer(name, "--count", "2" if quick else "8")
        for layer, row in report["layers"].items():
            shape = "x".join(map(str, row["shape"]))
            figures = {
                "online_ms": 1e3 * row["online_s"],
                "online_bytes": row["online_bytes"],
                "rounds": row["rounds"],
            }
            rows.append({"model": name, "layer": layer, "op": row["op"], "shape": shape, **figures})
    return rows


if __name__ == "__main__":
    main("layers", __doc__, measure)
