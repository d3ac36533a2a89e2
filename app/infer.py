"""`blindsight infer`: both servers as two processes on this machine, no MQTT.

The parent shares the pixels between the two, so it plays the picture's owner: it alone learns the results.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from blindsight.app.images import load_images
from blindsight.app.modelfile import find_model, pictures_of, split_files
from blindsight.app.options import JsonOption
from blindsight.app.party import Task
from blindsight.app.party_process import PartyProcess
from blindsight.app.split import split_into
from blindsight.fixed.rng import SystemRng, uniform_u32
from blindsight.models.zoo import vgg224
from blindsight.nn import floatnet
from blindsight.nn.model import Model
from blindsight.nn.plan import Plan
from blindsight.nn.shares import ModelShare
from blindsight.offline.make import MAX_BATCH

LINKS = ("lan", "wan")
Progress = Callable[[str, int], None]


class InferError(Exception):
    """The run failed; one line that says why."""


def infer(
    model_path: Path,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    link: str = "lan",
    batch: int = MAX_BATCH,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Classify pictures with two local server processes.

    Args:
        model_path: M.bsm, or the folder of a split model (`blindsight model split`).
        images: `uint8` (N, H, W, C) or (N, H, W), of the model's input size.
        labels: (N,) true classes, for `accuracy`.
        link: `lan` (loopback as it is) or `wan` (100 Mbit/s, 40 ms round trip, shaped).
        batch: inferences whose material is made together, at most 16, and as many as fit into memory.
        threads: threads a server, by default as many as there are cores: mostly one of the two works at a time.
        progress: called with the phase (`offline` or `online`) and the number of pictures done.

    Returns:
        The JSON object of DESIGN section 9 (`infer`), and `layers`.

    Raises:
        InferError, PlanError: one line that names the fix.
    """
    with servers_files(Path(model_path)) as (plan, paths, model):
        pixels = flat_pixels(plan, images)
        reports = run_pair(paths, pixels, link, batch, threads or len(os.sched_getaffinity(0)), progress)
    pictures = images if images.ndim == 4 else images[..., None]
    start = time.perf_counter()
    logits = floatnet.forward(model.graph, pictures) if model else None
    float_s = (time.perf_counter() - start) / len(pixels)
    result = np.array(reports[0].pop("shares"), np.uint64) + np.array(reports[1].pop("shares"), np.uint64)
    result = (result & 0xFFFFFFFF).astype(np.uint32)
    top1 = top_classes(plan, result)
    cloud, helper = reports
    report = {
        "model": plan.name,
        "weights": "random (seeded)" if plan.name.endswith(vgg224.SEEDED) else "as compiled",
        "deployment": plan.deployment,
        "count": len(pixels),
        "top1": top1.tolist(),
        "agreement": None if logits is None else float(np.mean(top1 == logits.argmax(axis=1))),
        "accuracy": None if labels is None else float(np.mean(top1 == labels)),
        **{
            k: cloud[k]
            for k in ("online_s", "offline_s", "setup_s", "online_bytes", "offline_bytes", "rounds")
        },
        **{
            k: {"cloud": cloud[k], "helper": helper[k]}
            for k in ("peak_rss_bytes", "online_cpu_s", "offline_cpu_s")
        },
        "float_s": torch_seconds(model, images) if model else None,
        "float_numpy_s": float_s if model else None,
        "link": link,
        "batch": cloud["batch"],
        "threads": threads or len(os.sched_getaffinity(0)),
        "layers": cloud["layers"],
    }
    if labels is not None:
        report["float_accuracy"] = None if logits is None else float(np.mean(logits.argmax(axis=1) == labels))
    if plan.reveal.mode != "top1":
        report["result"] = revealed(plan, result)
    return report


@contextmanager
def servers_files(path: Path) -> Iterator[tuple[Plan, tuple[Path, Path], Model | None]]:
    """The plan, the file of each server (cloud, helper), and the owner's model where it is at hand.

    A concealed M.bsm is split afresh, for this run alone. Files made here are gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="blindsight-") as temporary:
        folder = Path(temporary)
        model = None if path.is_dir() else Model.load(path)
        if model is not None and model.plan.deployment == "concealed":
            split_into(path, folder / "split", owner=False)
            cloud, helper, _ = split_files(folder / "split")
            yield model.plan, (cloud, helper), model
        elif model is not None:
            (folder / "plan.json").write_text(model.plan.to_json())
            yield model.plan, (path.resolve(), folder / "plan.json"), model
        else:
            cloud, helper, owner = split_files(path)
            plan = ModelShare.load(helper, 1).plan
            model = None if owner is None else Model.load(owner)
            if model is not None and model.plan.hash != plan.hash:
                raise InferError(f"{owner}: of another model than the shares beside it")
            yield plan, (cloud.resolve(), helper.resolve()), model


def flat_pixels(plan: Plan, images: np.ndarray) -> np.ndarray:
    """`uint8` (N, H*W*C) in capture order; InferError unless the pictures are of the plan's size."""
    images = images[..., None] if images.ndim == 3 else images
    wanted = (plan.height, plan.width, plan.channels)
    if images.dtype != np.uint8 or images.shape[1:] != wanted:
        raise InferError(
            f"the model takes uint8 pictures of {wanted[0]} x {wanted[1]} x {wanted[2]} (H, W, C), "
            f"these are {images.dtype} {' x '.join(map(str, images.shape[1:]))}: resize them, or name their model"
        )
    return images.reshape(len(images), -1)


def top_classes(plan: Plan, result: np.ndarray) -> np.ndarray:
    """The first class of each opened result, `uint32` [N, count] -> int64 [N]."""
    if plan.reveal.mode in ("top1", "topk"):
        return result[:, 0].astype(np.int64)
    return result.astype(np.int32).argmax(axis=1)


def revealed(plan: Plan, result: np.ndarray) -> list[Any]:
    """The whole revealed result: class indices (`topk`), else numbers."""
    if plan.reveal.mode == "topk":
        return result.tolist()
    return (result.astype(np.int32) / 2.0**plan.result_scale).tolist()


def torch_seconds(model: Model, images: np.ndarray) -> float | None:
    """Seconds an image of the plaintext float network in PyTorch, batch 1; None where PyTorch is not installed."""
    try:
        from blindsight.models.torch_floor import seconds_per_image
    except ImportError:
        return None
    return seconds_per_image(model.graph, images)


def run_pair(
    paths: tuple[Path, Path],
    pixels: np.ndarray,
    link: str,
    batch: int,
    threads: int,
    progress: Progress | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start the two servers, give each its shares, and wait for both reports."""
    helper_share = uniform_u32(SystemRng(), pixels.shape)
    shares = (pixels.astype(np.uint32) - helper_share, helper_share)
    tasks = [Task(party, str(path), len(pixels), batch, threads, link) for party, path in enumerate(paths)]

    def tell(event: dict[str, Any]) -> None:
        if progress and event["event"] == "progress":
            progress(event["phase"], event["done"])

    with ExitStack() as stack:

        def start(task: Task) -> PartyProcess:
            party = PartyProcess("blindsight.app.party", task, InferError)
            stack.callback(party.stop)
            party.write(shares[task.party].tobytes(), last=True)
            return party

        helper = start(tasks[1])
        cloud = start(replace(tasks[0], port=helper.hear("port")["port"]))
        errors = []
        reports = []
        for party in (cloud, helper):
            try:
                reports.append(party.hear("report", tell))
            except InferError as error:
                errors.append(str(error))
        if errors:
            raise InferError(min(errors, key=lambda e: ("the peer" in e, len(e))))
        return reports[0], reports[1]


def register(app: typer.Typer) -> None:
    @app.command("infer")
    def command(
        model: Annotated[str, typer.Option(help="zoo name, M.bsm, or the folder of a split model")],
        images: Annotated[
            Path | None, typer.Option(help=".npz with x uint8 (N, H, W[, C]) and perhaps y")
        ] = None,
        count: Annotated[int | None, typer.Option(help="only the first COUNT pictures")] = None,
        link: Annotated[str, typer.Option(help="lan, or wan: 100 Mbit/s, 40 ms, shaped")] = "lan",
        batch: Annotated[int, typer.Option(help="inferences whose material is made together")] = MAX_BATCH,
        threads: Annotated[int | None, typer.Option(help="threads a server [default: the cores]")] = None,
        as_json: JsonOption = False,
    ) -> None:
        """Classify pictures with cloud and helper as two local processes, no MQTT."""
        if link not in LINKS:
            raise InferError(f"--link is one of {', '.join(LINKS)}, not {link!r}")
        if not 1 <= batch <= MAX_BATCH or (threads is not None and threads < 1):
            raise InferError(f"--batch is 1 to {MAX_BATCH} and --threads at least 1")
        path = find_model(model)
        x, y = load_images(images or pictures_of(model), count)
        report = _with_bar(path, x, y, link, batch, threads)
        if as_json:
            print(json.dumps(report))
        else:
            show(report)


def _with_bar(
    path: Path, x: np.ndarray, y: np.ndarray | None, link: str, batch: int, threads: int | None
) -> dict[str, Any]:
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=errors, disable=not errors.is_terminal) as bar:
        rows = {phase: bar.add_task(phase, total=len(x)) for phase in ("offline", "online")}
        update = lambda phase, done: bar.update(rows[phase], completed=done)  # noqa: E731
        return infer(path, x, y, link, batch, threads, update)


def show(report: dict[str, Any]) -> None:
    """Two tables: the whole, and per layer."""
    out = Console()
    table = Table(title=f"{report['model']}: {report['count']} pictures, two servers, {report['link']}")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_row("weights", report["weights"])
    if report["agreement"] is not None:
        table.add_row("top-1 agreement with the float net", f"{report['agreement']:.2%}")
    if report["accuracy"] is not None and report["float_accuracy"] is None:
        table.add_row("accuracy", f"{report['accuracy']:.2%}")
    elif report["accuracy"] is not None:
        table.add_row("accuracy (float net)", f"{report['accuracy']:.2%} ({report['float_accuracy']:.2%})")
    for name, label in (("online_s", "online"), ("offline_s", "offline")):
        table.add_row(f"{label}, a picture", f"{1e3 * report[name]:,.1f} ms")
    for name, label in (("online_bytes", "online"), ("offline_bytes", "offline")):
        table.add_row(f"{label} bytes, a picture, both ways", f"{report[name]:,.0f}")
    table.add_row("rounds, online", f"{report['rounds']:.0f}")
    table.add_row("set-up", f"{report['setup_s']:.2f} s")
    for party, peak in report["peak_rss_bytes"].items():
        table.add_row(f"peak memory, {party}", f"{peak / 2**20:,.0f} MiB")
    if report["float_s"] is not None:
        table.add_row("plaintext PyTorch, a picture", f"{1e3 * report['float_s']:,.2f} ms")
    out.print(table)
    layers = Table(title="online, per layer")
    for column in ("layer", "kind", "shape"):
        layers.add_column(column)
    for column in ("ms", "bytes", "rounds"):
        layers.add_column(column, justify="right")
    for name, row in report["layers"].items():
        shape = "x".join(map(str, row["shape"]))
        figures = (f"{1e3 * row['online_s']:.2f}", f"{row['online_bytes']:,.0f}", f"{row['rounds']:.0f}")
        layers.add_row(name, row["op"], shape, *figures)
    out.print(layers)
