"""Which model file a name on the command line means."""

import sys
from pathlib import Path

from blindsight.models import zoo
from blindsight.models.zoo import vgg224

CLOUD, HELPER, OWNER = ".cloud.share", ".helper.share", ".owner.bsm"  # the files of a split model


class ModelNameError(Exception):
    """No such model; one line that names those there are."""


def find_model(name: str) -> Path:
    """The path of M.bsm (a file, or the name of a zoo model), or of the folder of a split model. `vgg16-224` is built
    in the user's cache folder the first time, with a word on standard error.

    Raises:
        ModelNameError: neither.
    """
    if name in zoo.names():
        return zoo.path(name)
    if name == vgg224.NAME:
        return _seeded()[0]
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        split_files(path)
        return path
    raise ModelNameError(
        f"{name}: no such file, and no zoo model of that name (there are {', '.join([*zoo.names(), vgg224.NAME])}); "
        "make a model with `blindsight compile`"
    )


def split_files(folder: Path) -> tuple[Path, Path, Path | None]:
    """The cloud's share, the helper's share and the owner's own file (None where it is kept elsewhere) of a folder.

    Raises:
        ModelNameError: the folder does not hold exactly one split model.
    """
    found = sorted(folder.glob(f"*{CLOUD}"))
    if len(found) != 1:
        raise ModelNameError(
            f"{folder}: holds {len(found)} files *{CLOUD}, one is needed: make it with `blindsight model split`"
        )
    stem = found[0].name.removesuffix(CLOUD)
    helper, owner = folder / f"{stem}{HELPER}", folder / f"{stem}{OWNER}"
    if not helper.is_file():
        raise ModelNameError(f"{helper}: missing: split the model again")
    return found[0], helper, owner if owner.is_file() else None


def pictures_of(name: str) -> Path:
    """The shipped test pictures of a zoo model.

    Raises:
        ModelNameError: `name` is a file, whose pictures we cannot know.
    """
    if name in zoo.names():
        return zoo.pictures(name)
    if name == vgg224.NAME:
        return _seeded()[1]
    raise ModelNameError(f"{name}: pass its pictures with --images X.npz")


def _seeded() -> tuple[Path, Path]:
    try:
        return vgg224.cached(lambda what: print(what, file=sys.stderr, flush=True))
    except OSError as error:
        raise ModelNameError(
            f"{vgg224.NAME} is built in the cache folder, which failed ({error}): set XDG_CACHE_HOME to a folder "
            "with 300 MB free"
        ) from None
