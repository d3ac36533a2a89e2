"""`blindsight compile`: a PyTorch network to a model file and its public plan."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from blindsight.app.images import load_images
from blindsight.app.options import JsonOption, check_places
from blindsight.nn import planner
from blindsight.nn.model import plan_path


class CompileUsageError(Exception):
    """An option that cannot be used; one line that names the fix."""


def numbers(text: str, what: str) -> tuple[float, ...]:
    """`0.49,0.48,0.45` -> the numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CompileUsageError(f"--{what} takes numbers separated by commas, not {text!r}") from None


def name_of(out: Path) -> str:
    """`My Net.bsm` -> `my-net`: a name that manifests take."""
    return re.sub(r"[^a-z0-9._-]+", "-", out.stem.lower())[:64].strip("._-") or "model"


def read_labels(path: Path | None) -> list[str] | None:
    """One label a line, or a JSON list."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CompileUsageError(f"{path}: not a text file of labels ({error})") from None
    if text.lstrip().startswith("["):
        try:
            labels = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CompileUsageError(f"{path}: not a JSON list of labels ({error})") from None
        if not all(isinstance(label, str) for label in labels):
            raise CompileUsageError(f"{path}: the labels must be strings")
        return labels
    return [line.strip() for line in text.splitlines() if line.strip()]


def register(app: typer.Typer) -> None:
    @app.command("compile")
    def command(
        source: Annotated[str, typer.Argument(metavar="MODULE:FACTORY|FILE.pt2")],
        calibration: Annotated[Path, typer.Option(help=".npz with x uint8: a few hundred typical pictures")],
        out: Annotated[Path, typer.Option(help="M.bsm; the public plan is written beside it")],
        weights: Annotated[
            Path | None, typer.Option(help="state dict or safetensors for MODULE:FACTORY")
        ] = None,
        name: Annotated[
            str | None, typer.Option(help="model name in manifests, in small letters (default: from --out)")
        ] = None,
        mean: Annotated[
            str, typer.Option(help="of x/255, one number or one a channel, comma-separated")
        ] = "0",
        std: Annotated[str, typer.Option(help="likewise")] = "1",
        labels: Annotated[Path | None, typer.Option(help="one label a line, or a JSON list")] = None,
        reveal: Annotated[str, typer.Option(help="top1, topk, logits or probabilities")] = "top1",
        weight_bits: Annotated[str, typer.Option(help="auto, or 8 .. 16")] = "auto",
        m: Annotated[str, typer.Option(help="bits of activations: auto, or 8 .. 16")] = "auto",
        headroom: Annotated[
            float | None, typer.Option(help="times what calibration saw that a picture may reach")
        ] = None,
        storage: Annotated[
            str, typer.Option(help="full, or compact: a byte a weight, for large networks")
        ] = "full",
        explain: Annotated[
            bool, typer.Option(help="print bounds, bit widths and the cut of every layer")
        ] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Compile a PyTorch network: the model file for the cloud, the public plan for the helper."""
        if out.suffix != ".bsm":
            raise CompileUsageError(f"--out must end in .bsm, not {out.name!r}")
        check_places(out)
        if weight_bits != "auto" and not (weight_bits.isdigit() and 8 <= int(weight_bits) <= 16):
            raise CompileUsageError(f"--weight-bits is auto or 8 .. 16, not {weight_bits!r}")
        if m != "auto" and not (m.isdigit() and 8 <= int(m) <= 16):
            raise CompileUsageError(f"--m is auto or 8 .. 16, not {m!r}")
        compile_model, load_module = _compiler()
        pictures, truth = load_images(calibration)
        compiled = compile_model(
            load_module(source, weights),
            pictures if pictures.ndim == 4 else pictures[..., None],
            name=name or name_of(out),
            mean=numbers(mean, "mean"),
            std=numbers(std, "std"),
            labels=read_labels(labels),
            reveal=reveal,
            weight_bits="auto" if weight_bits == "auto" else int(weight_bits),
            m="auto" if m == "auto" else int(m),
            headroom=headroom,
            storage=storage,
            truth=truth,
        )
        compiled.save(out)
        if as_json:
            summary: dict[str, Any] = {
                "model": str(out),
                "plan": str(plan_path(out)),
                "plan_hash": compiled.model.plan.hash.hex(),
                "agreement": compiled.agreement,
                "simulated": compiled.simulated,
                "layers": compiled.layers(),
            }
            if compiled.loss:
                summary["loss"] = asdict(compiled.loss)
            print(json.dumps(summary))
            return
        if explain:
            print(compiled.explain())
            print(planner.explain(compiled.model.plan))
        elif compiled.loss:
            print(compiled.loss)
        print(f"{out} (the cloud's), {plan_path(out)} (public: give it to the helper)")


def _compiler() -> tuple[Any, Any]:
    try:
        from blindsight.models import compile_model, load_module
    except ImportError as error:
        if "torch" not in str(error):
            raise
        raise CompileUsageError(
            "compiling needs PyTorch: make dev, or pip install 'blindsight[train]'"
        ) from None
    return compile_model, load_module
