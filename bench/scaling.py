"""Cost against images, pixels and threads: bytes and seconds of `blindsight infer`, with a plot.

    python -m bench.scaling [--quick] [--json]

Images: the zoo's smallest model, 1 to 64 pictures, in all. Pixels: VGG-16 with seeded weights and a 512-512-10 classifier
on pictures of 32 to 128 pixels a side, one picture. Threads: the same at 64, one and all cores a server. The plot goes beside the
CSV as scaling.svg: bytes and pixels are in proportion when its lines are straight.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from bench.infer import models
from bench.table import QUICK, RESULTS, Row, finish, infer, options, say
from blindsight.models.zoo.vgg224 import compile_seeded, pictures

KEYS = ("count", "batch", "threads", "online_s", "offline_s", "online_bytes", "offline_bytes", "rounds")
TIMES = ("online_s", "offline_s", "online_bytes", "offline_bytes")


def by_images(quick: bool) -> list[Row]:
    rows = []
    for count in (1, 4) if quick else (1, 2, 4, 8, 16, 32, 64):
        row = infer(models()[0], "--count", str(count))
        total = {k: row[k] * count for k in TIMES}  # of all pictures
        rows.append({"what": "images", "x": count, **{k: row[k] for k in KEYS}, **total})
    return rows


def by_pixels(quick: bool, folder: Path) -> list[Row]:
    rows = []
    for side in (32, 64) if quick else (32, 64, 96, 128):
        made = seeded(folder, side)
        row = infer(*made)
        rows.append({"what": "pixels", "x": side * side, **{k: row[k] for k in KEYS}})
    for threads in dict.fromkeys((1, len(os.sched_getaffinity(0)))):
        row = infer(*seeded(folder, 32 if quick else 64), "--threads", str(threads))
        rows.append({"what": "threads", "x": threads, **{k: row[k] for k in KEYS}})
    return rows


def seeded(folder: Path, side: int) -> tuple[str, ...]:
    """Arguments of `infer` for the seeded network at `side`."""
    model, images = folder / f"vgg16-{side}.bsm", folder / f"{side}.npz"
    if not model.exists():
        say(f"VGG-16 with seeded weights at {side} x {side}")
        compile_seeded(side, hidden=512, classes=10).save(model)
        np.savez(images, x=pictures(1, side))
    return str(model), "--images", str(images)


def plot(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for axis, what in zip(axes, ("images", "pixels", "threads"), strict=True):
        these = [row for row in rows if row["what"] == what]
        x = [row["x"] for row in these]
        axis.plot(x, [row["online_s"] for row in these], "o-", label="online, s")
        axis.plot(x, [row["offline_s"] for row in these], "s-", label="offline, s")
        axis.set_xlabel(what)
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
        axis.legend(loc="upper left")
        if what != "threads":
            bytes_axis = axis.twinx()
            total = [(row["online_bytes"] + row["offline_bytes"]) / 1e6 for row in these]
            bytes_axis.plot(x, total, "^--", color="gray", label="MB")
            bytes_axis.set_ylim(bottom=0)
            bytes_axis.legend(loc="lower right")
    figure.savefig(path)
    say(f"{path} drawn")


def main() -> None:
    args = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="blindsight-bench-") as folder:
        rows = by_images(args.quick) + by_pixels(args.quick, Path(folder))
    finish("scaling", rows, args.quick, args.json)
    plot(rows, (QUICK if args.quick else RESULTS) / "scaling.svg")


if __name__ == "__main__":
    main()
