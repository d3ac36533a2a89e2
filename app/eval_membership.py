"""`blindsight eval membership`: can a server tell who was in the training set? (`blindsight.evaluation.membership`)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from blindsight.app.options import JsonOption, check_places

CLAIMS = {
    "control_succeeds": "both attacks succeed in the clear (AUC >= 0.70)",
    "views_say_nothing": "no view says anything (all intervals contain what guessing gives)",
    "attacks_could_succeed": "every attack succeeds on its view laid bare",
    "views_uniform": "shares, openings, ciphertexts and messages are uniform, members' as others'",
    "sizes_equal": "message sizes and counts are equal for all pictures",
    "controls_caught": "every negative control is caught",
}  # of `verdict`; the command fails unless all hold


class MembershipError(Exception):
    """The evaluation cannot be made so; one line that names the fix."""


def register(group: typer.Typer) -> None:
    """Adds the command to the group `eval`."""

    @group.command("membership")
    def command(
        data: Annotated[
            Path | None,
            typer.Option(help="folder of CIFAR-10 packs, cifar10_train_*.npz (default: $BLINDSIGHT_DATA)"),
        ] = None,
        full: Annotated[
            bool, typer.Option("--full", help="5,000 judged of each kind, 16 shadows: the published table")
        ] = False,
        quick: Annotated[bool, typer.Option("--quick", help="200 pictures, for CI")] = False,
        jobs: Annotated[int, typer.Option(help="processes")] = 2,
        html: Annotated[
            Path | None, typer.Option("--html", help="one self-contained page", dir_okay=False)
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """White-box membership inference in the clear, and on everything each server sees; negative controls."""
        if full and quick:
            raise MembershipError("--full or --quick, not both")
        if jobs < 1:
            raise MembershipError("--jobs is at least 1")
        check_places(html)
        report = _run(data, "full" if full else "quick" if quick else "default", jobs)
        if html is not None:
            from blindsight.evaluation.report import page

            html.write_text(page(report))
            report.figures["html"] = str(html)
        if as_json:
            print(json.dumps(report.figures))
        else:
            show(report.figures)
        if not all(report.figures["verdict"][claim] for claim in CLAIMS):
            raise typer.Exit(1)


def _run(data: Path | None, size: str, jobs: int) -> Any:
    try:
        from blindsight.evaluation import membership
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MembershipError("the evaluation needs PyTorch: pip install 'blindsight[train]'") from None
    from blindsight.evaluation.data import few

    sizes = {"full": membership.FULL, "quick": membership.QUICK, "default": membership.DEFAULT}
    errors = Console(stderr=True)
    if few(data):
        errors.print(
            "no CIFAR-10 packs named: the 200 pictures that come with Blindsight are used, 100 members and 100 others; "
            "intervals are wide. For the experiment of 2,000 and more pass --data DIR or set BLINDSIGHT_DATA.",
            soft_wrap=True,
        )
    columns = (TextColumn("{task.description:>21}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=errors, disable=not errors.is_terminal) as bar:
        rows: dict[str, Any] = {}

        def progress(phase: str, done: int, of: int) -> None:
            if phase not in rows:
                rows[phase] = bar.add_task(phase, total=of)
            bar.update(rows[phase], completed=done)

        return membership.run(data, sizes[size], jobs, progress)


def show(figures: dict[str, Any]) -> None:
    """Tables: the control and the views, the negative controls, what outputs leave."""
    out = Console()
    each = figures["members"]
    table = Table(title=f"membership inference, {each} members and {each} others ({figures['pictures']})")
    for column in ("what is attacked", "AUC", "interval", "TPR at 1 % FPR", "at 0.1 %", "balanced"):
        table.add_column(column, justify="left" if column == "what is attacked" else "right")
    for name in ("whitebox", "lira"):
        table.add_row(f"in the clear: {name}", *_cells(figures["control"][name]))
    for name, row in figures["views"].items():
        table.add_row(
            name, *_cells(row), style=None if name not in figures["verdict"]["telling_views"] else "bold red"
        )
    out.print(table)
    controls = Table(title="negative controls: what is left out must be noticed")
    for column in ("control", "caught", "test", "broken", "real"):
        controls.add_column(column)
    for name, row in figures["controls"].items():
        caught = "yes" if figures["negative_controls"][name] else "NO"
        values = [f"{row['figures'][k]:.3g}" for k in ("broken", "real")]
        controls.add_row(name, caught, row["what"], *values)
    out.print(controls)
    left = Table(title="what outputs leave to whoever gets them, and the same attacks on views laid bare")
    for column in ("attack", "AUC", "interval", "TPR at 1 % FPR", "at 0.1 %", "balanced"):
        left.add_column(column)
    outputs = figures["outputs"]
    for name, row in (
        ("top1, right or wrong", outputs["top1"]["gap"]),
        ("top1, shifted copies", outputs["top1"]["augmented"]),
        ("logits, likelihood ratio", outputs["logits"]),
        *((f"laid bare: {name}", row) for name, row in figures["laid_bare"].items()),
    ):
        left.add_row(name, *_cells(row))
    out.print(left)
    for claim, text in CLAIMS.items():
        out.print(f"{'yes' if figures['verdict'][claim] else 'NO '}  {text}")


def _cells(row: dict[str, float]) -> tuple[str, ...]:
    return (
        f"{row['auc']:.3f}",
        f"{row['auc_low']:.3f} .. {row['auc_high']:.3f}",
        f"{row['tpr_at_1pct']:.2%}",
        f"{row['tpr_at_01pct']:.2%}",
        f"{row['balanced_accuracy']:.3f}",
    )
