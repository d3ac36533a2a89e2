"""`blindsight compile`: a PyTorch network to a model file and its public plan."""

import json
from pathlib import Path

from blindsight.app.images import load_images

from blindsight.nn.model import plan_path


class CompileUsageError(Exception):
    """An option that cannot be used; one line that names the fix."""


def numbers(text: str, what: str) -> tuple[float, ...]:
    """`0.49,0.48,0.45` -> the numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CompileUsageError(f"--{what} takes numbers separated by commas, not {text!r}") from None


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
        except ValueError as error:
            raise CompileUsageError(f"{path}: not a JSON list of labels ({error})") from None
        if not all(isinstance(label, str) for label in labels):
            raise CompileUsageError(f"{path}: the labels must be strings")
        return labels
    return [line.strip() for line in text.splitlines() if line.strip()]


def main_compile(
    source: str,
    weights: Path | None,
    calibration: Path,
    out: Path,
    name: str | None,
    mean: str,
    std: str,
    labels: Path | None,
    reveal: str,
    weight_bits: str,
    explain: bool,
    as_json: bool,
) -> None:
    """Body of the command."""
    try:
        from blindsight.models import compile_model, load_module
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CompileUsageError(
            "compiling needs PyTorch: pip install 'blindsight[train]', or make dev"
        ) from None
    if out.suffix != ".bsm":
        raise CompileUsageError(f"--out must end in .bsm, not {out.name!r}")
    if weight_bits != "auto" and not (weight_bits.isdigit() and 8 <= int(weight_bits) <= 16):
        raise CompileUsageError(f"--weight-bits is auto or 8 .. 16, not {weight_bits!r}")
    pictures, _ = load_images(calibration)
    compiled = compile_model(
        load_module(source, weights),
        pictures if pictures.ndim == 4 else pictures[..., None],
        name=name or out.stem,
        mean=numbers(mean, "mean"),
        std=numbers(std, "std"),
        labels=read_labels(labels),
        reveal=reveal,
        weight_bits=weight_bits if weight_bits == "auto" else int(weight_bits),
    )
    compiled.save(out)
    if as_json:
        print(json.dumps({"model": str(out), "plan": str(plan_path(out)), **compiled.summary()}))
        return
    if explain:
        print(compiled.explain())
    print(f"{out} (the cloud's), {plan_path(out)} (public: give it to the helper)")
