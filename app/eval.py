"""`blindsight eval accuracy`: the secure run against its fixed-point simulation and against the float network.

For the model's owner, who may see everything: the simulation and the float reference run in the clear on this machine, the
secure run is that of `blindsight infer`, two processes with real protocols.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from blindsight.app import eval_membership
from blindsight.app.images import load_images
from blindsight.app.infer import infer, servers_files
from blindsight.app.modelfile import find_model, pictures_of
from blindsight.app.options import JsonOption, check_places
from blindsight.nn import floatnet
from blindsight.nn.ideal import run_values
from blindsight.nn.model import Model
from blindsight.offline.make import MAX_BATCH

CHUNK = 32  # pictures simulated at once


class EvalError(Exception):
    """The evaluation cannot be made so; one line that names the fix."""


class Layers:
    """Errors of the tensors that the plan and the float graph share, summed over chunks of pictures.

    The compiler may leave a constant factor (the rest of a mean's divisor) to later weights; it is estimated from the
    first chunk and divided out.
    """

    def __init__(self, model: Model) -> None:
        floats = model.graph.by_name()
        self._model = model
        self._ops = [
            op for op in model.plan.ops[1:-1] if op.out in floats and floats[op.out].shape == op.shape
        ]
        self._factor: dict[str, float] = {}
        self._sums: dict[str, np.ndarray] = {
            op.out: np.zeros(4) for op in self._ops
        }  # error^2, float^2, n, max

    def add(self, pictures: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Take a chunk in; returns its logits, fixed-point and float, as numbers."""
        plan = self._model.plan
        real: dict[str, np.ndarray] = {}
        fixed: dict[str, np.ndarray] = {}
        floats = floatnet.forward(self._model.graph, pictures, lambda name, x: real.__setitem__(name, x))
        logits = run_values(
            plan,
            self._model.ints,
            pictures,
            np.random.default_rng(seed),
            CHUNK,
            lambda op, x: fixed.__setitem__(op.out, x / 2.0**op.scale),
        )
        for op in self._ops:
            a, b = fixed[op.out], real[op.out].astype(np.float64)
            power = float((b * b).sum())
            self._factor.setdefault(op.out, float((a * b).sum()) / power if power else 1.0)
            factor = self._factor[op.out]
            error = (a if abs(factor - 1) < 0.01 or factor == 0 else a / factor) - b
            row = self._sums[op.out]
            row[:3] += float((error * error).sum()), power, error.size
            row[3] = max(row[3], float(np.abs(error).max(initial=0)))
        return logits / 2.0**plan.output_scale, floats

    def rows(self) -> list[dict[str, Any]]:
        """One object a layer: greatest and root mean square error, and that relative to the layer's own."""
        out = []
        for op in self._ops:
            square, power, count, most = self._sums[op.out]
            rms, own = float(np.sqrt(square / count)), float(np.sqrt(power / count))
            out.append(
                {
                    "layer": op.out,
                    "op": op.kind,
                    "shape": list(op.shape),
                    "scale": op.scale,
                    "max_error": float(most),
                    "rms_error": rms,
                    "rms": own,
                    "relative": rms / own if own else 0.0,
                }
            )
        return out


def accuracy(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray | None,
    link: str = "lan",
    batch: int = MAX_BATCH,
    threads: int = 1,
) -> dict[str, Any]:
    """Evaluate a model on pictures; the JSON object of `blindsight eval accuracy`.

    Raises:
        EvalError: a split model without its owner's file. InferError, PlanError: as `infer`.
    """
    with servers_files(path) as (_, _, model):
        if model is None:
            raise EvalError(f"{path}: evaluation needs the owner's file (*.owner.bsm) beside the shares")
    if labels is not None and (labels.min() < 0 or labels.max() >= model.plan.classes):
        raise EvalError(f"`y` holds classes outside 0..{model.plan.classes - 1}: they are not this model's")
    report = infer(path, images, labels, link, batch, threads)
    pictures = images if images.ndim == 4 else images[..., None]
    layers = Layers(model)
    parts = [layers.add(pictures[i : i + CHUNK], i) for i in range(0, len(pictures), CHUNK)]
    fixed, floats = (np.concatenate(side) for side in zip(*parts, strict=True))
    top = {
        "secure": np.array(report["top1"]),
        "fixed": fixed.argmax(axis=1),
        "float": floats.argmax(axis=1),
    }
    error = float(np.abs(fixed - floats).max())
    ranked = np.sort(floats, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 2 * error if floats.shape[1] > 1 else np.ones(len(floats), bool)
    truth = top["float"] if labels is None else np.asarray(labels)
    counts = np.zeros((model.plan.classes, model.plan.classes), int)
    np.add.at(counts, (truth, top["secure"]), 1)
    out = {
        "model": model.plan.name,
        "deployment": model.plan.deployment,
        "count": len(pictures),
        "accuracy": None if labels is None else {k: float(np.mean(v == labels)) for k, v in top.items()},
        "agreement": {
            "secure_float": float(np.mean(top["secure"] == top["float"])),
            "fixed_float": float(np.mean(top["fixed"] == top["float"])),
            "secure_fixed": float(np.mean(top["secure"] == top["fixed"])),
        },
        "clear": {  # pictures whose float margin exceeds twice the greatest error of a logit
            "count": int(clear.sum()),
            "secure_float": float(np.mean((top["secure"] == top["float"])[clear])) if clear.any() else None,
        },
        "logit_error": error,
        "logit_spread": float(floats.std()),
        "layers": layers.rows(),
        "confusion": counts.tolist(),
        "confusion_rows": "float" if labels is None else "label",
        "labels": list(model.plan.labels),
    }
    if "result" in report and model.plan.reveal.mode in ("logits", "probabilities"):
        out["result_error"] = result_error(model, np.array(report["result"]), floats)
    return out


def result_error(model: Model, result: np.ndarray, floats: np.ndarray) -> float:
    """Greatest difference of the revealed numbers from the float network's."""
    if model.plan.reveal.mode == "probabilities":
        e = np.exp(floats - floats.max(axis=1, keepdims=True))
        floats = e / e.sum(axis=1, keepdims=True)
    return float(np.abs(result - floats).max())


def plot(report: dict[str, Any], path: Path) -> None:
    """Confusion and per-layer error as a PNG (or what else the suffix says)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise EvalError("--plot needs matplotlib: pip install 'blindsight[demo]'") from None
    counts, layers = np.array(report["confusion"]), report["layers"]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(counts, cmap="Blues")
    figure.colorbar(image, ax=left)
    names = report["labels"] or [str(i) for i in range(len(counts))]
    if len(names) <= 20:
        left.set_xticks(range(len(names)), names, rotation=90)
        left.set_yticks(range(len(names)), names)
    left.set(
        xlabel="secure run",
        ylabel=report["confusion_rows"],
        title=f"{report['model']}, {report['count']} pictures",
    )
    right.semilogy([row["relative"] or np.nan for row in layers], "o-", markersize=3)
    right.set_xticks(range(len(layers)), [row["layer"] for row in layers], rotation=90, fontsize=7)
    right.set(ylabel="rms error / rms", title="fixed point against float, by layer")
    right.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=120)
    except ValueError as error:
        raise EvalError(f"--plot {path}: {error}") from None


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="How well a model does.", no_args_is_help=True)
    app.add_typer(group, name="eval")

    @group.callback()
    def evaluate() -> None:
        """How well a model does."""

    eval_membership.register(group)

    @group.command("accuracy")
    def command(
        model: Annotated[str, typer.Option(help="zoo name, M.bsm, or the folder of a split model")],
        images: Annotated[
            Path | None, typer.Option(help=".npz with x uint8 (N, H, W[, C]) and perhaps y")
        ] = None,
        count: Annotated[int | None, typer.Option(help="only the first COUNT pictures")] = None,
        figure: Annotated[
            Path | None, typer.Option("--plot", help="write confusion and errors as a PNG")
        ] = None,
        batch: Annotated[int, typer.Option(help="inferences whose material is made together")] = MAX_BATCH,
        threads: Annotated[int, typer.Option(help="threads a server")] = 1,
        as_json: JsonOption = False,
    ) -> None:
        """Secure run, fixed-point simulation and float network side by side: accuracy, error by layer, confusion."""
        if not 1 <= batch <= MAX_BATCH or threads < 1:
            raise EvalError(f"--batch is 1 to {MAX_BATCH} and --threads at least 1")
        check_places(figure)
        x, y = load_images(images or pictures_of(model), count)
        report = accuracy(find_model(model), x, y, "lan", batch, threads)
        if figure is not None:
            plot(report, figure)
            report["plot"] = str(figure)
        if as_json:
            print(json.dumps(report))
        else:
            show(report)


def show(report: dict[str, Any]) -> None:
    """Tables: the whole, per layer, the confusion."""
    out = Console()
    table = Table(title=f"{report['model']}: {report['count']} pictures")
    table.add_column("what")
    table.add_column("value", justify="right")
    for key, value in (report["accuracy"] or {}).items():
        table.add_row(f"accuracy, {key}", f"{value:.2%}")
    for key, value in report["agreement"].items():
        table.add_row(f"top-1 agreement, {key.replace('_', ' and ')}", f"{value:.2%}")
    clear = report["clear"]
    if clear["secure_float"] is not None:
        label = f"the same, of the {clear['count']} whose margin exceeds the error"
        table.add_row(label, f"{clear['secure_float']:.2%}")
    table.add_row(
        "greatest error of a logit (their spread)",
        f"{report['logit_error']:.4g} ({report['logit_spread']:.3g})",
    )
    out.print(table)
    layers = Table(title="fixed point against float, per layer")
    for column in ("layer", "kind", "shape"):
        layers.add_column(column)
    for column in ("max error", "rms error", "relative"):
        layers.add_column(column, justify="right")
    for row in report["layers"]:
        figures = (f"{row['max_error']:.3g}", f"{row['rms_error']:.3g}", f"{row['relative']:.2e}")
        layers.add_row(row["layer"], row["op"], "x".join(map(str, row["shape"])), *figures)
    out.print(layers)
    counts = np.array(report["confusion"])
    if len(counts) <= 20:
        names = report["labels"] or [str(i) for i in range(len(counts))]
        confusion = Table(title=f"confusion: rows {report['confusion_rows']}, columns the secure run")
        confusion.add_column("")
        for name in names:
            confusion.add_column(name[:6], justify="right")
        for name, row in zip(names, counts, strict=True):
            confusion.add_row(name, *(str(v) if v else "." for v in row))
        out.print(confusion)
