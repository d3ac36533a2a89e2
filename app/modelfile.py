"""Which model file a name on the command line means."""

from pathlib import Path

from blindsight.models import zoo


class ModelNameError(Exception):
    """No such model; one line that names those there are."""


def find_model(name: str) -> Path:
    """The path of M.bsm: a file, or the name of a zoo model.

    Raises:
        ModelNameError: neither.
    """
    if name in zoo.names():
        return zoo.path(name)
    path = Path(name)
    if path.is_file():
        return path
    raise ModelNameError(
        f"{name}: no such file, and no zoo model of that name (there are {', '.join(zoo.names())}); "
        "make a model with `blindsight compile`"
    )


def pictures_of(name: str) -> Path:
    """The shipped test pictures of a zoo model.

    Raises:
        ModelNameError: `name` is a file, whose pictures we cannot know.
    """
    if name in zoo.names():
        return zoo.pictures(name)
    raise ModelNameError(f"{name}: pass its pictures with --images X.npz")
