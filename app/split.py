"""`blindsight model split`: the owner conceals a model from both servers (DESIGN section 4, `concealed`).

The folder holds what goes where: `NAME.cloud.share` to the cloud alone, `NAME.helper.share` to the helper alone,
`NAME.plan.json` to anybody, `NAME.owner.bsm` to nobody: the owner's float reference and weights, which `blindsight infer`
and `blindsight eval` compare answers with.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from blindsight.app.modelfile import CLOUD, HELPER, OWNER, find_model
from blindsight.app.options import JsonOption
from blindsight.nn.model import Model
from blindsight.nn.plan import PlanError
from blindsight.nn.shares import conceal, split


class SplitError(Exception):
    """The model cannot be split so; one line that names the fix."""


def split_into(source: Path, folder: Path, owner: bool = True) -> dict[str, str]:
    """Write the files of one fresh split of M.bsm into `folder`; their paths by whose they are.

    Args:
        owner: write the owner's own file too.

    Raises:
        SplitError: the folder holds a split already. PlanError: no model.
    """
    if source.is_dir():
        raise SplitError(f"{source}: a split model already: pass the M.bsm that `blindsight compile` wrote")
    model = conceal(Model.load(source))
    stem = source.name.removesuffix(".bsm").removesuffix(".owner")
    if folder.exists() and any(folder.iterdir()):
        raise SplitError(f"{folder}: not empty: name a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    cloud, helper = split(model)
    files = {
        "cloud": folder / f"{stem}{CLOUD}",
        "helper": folder / f"{stem}{HELPER}",
        "plan": folder / f"{stem}.plan.json",
    }
    cloud.save(files["cloud"])
    helper.save(files["helper"])
    if owner:
        files["owner"] = folder / f"{stem}{OWNER}"
        model.save(files["owner"])
        files["owner"].chmod(0o600)
        (folder / f"{stem}.owner.plan.json").unlink()
    files["plan"].write_text(model.plan.to_json(), encoding="ascii")
    return {whose: str(path) for whose, path in files.items()}


def register(app: typer.Typer) -> None:
    """Adds `split` to the group `model`."""
    group = next(g.typer_instance for g in app.registered_groups if g.name == "model")
    assert group is not None

    @group.command("split")
    def command(
        model: Annotated[str, typer.Argument(help="zoo name or M.bsm")],
        out: Annotated[Path, typer.Option(help="a new folder for the shares")],
        as_json: JsonOption = False,
    ) -> None:
        """Split a model's weights into two shares, so that neither server can read it."""
        try:
            files = split_into(find_model(model), out)
        except FileExistsError:
            raise PlanError(f"{out}: a file, not a folder: name a new folder with --out") from None
        if as_json:
            print(json.dumps(files))
            return
        whose = {
            "cloud": "the cloud's alone",
            "helper": "the helper's alone",
            "plan": "public",
            "owner": "the owner's: give it to neither server",
        }
        for key, path in files.items():
            print(f"{path} ({whose[key]})")
