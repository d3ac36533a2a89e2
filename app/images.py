"""Pictures from a file: `.npz` with `x` and, where known, `y`."""

from pathlib import Path

import numpy as np

from blindsight.errors import OneLine
from blindsight.models.packs import PackError, read_pack


class ImagesError(OneLine):
    """The file cannot be used; one line that says why."""


def load_images(path: Path, count: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """`x` uint8 (N, H, W) or (N, H, W, C), and `y` (N,) integers or None; the first `count` of them.

    Raises:
        ImagesError: not such a file.
    """
    try:
        pack = read_pack(path, "x", "y")
    except PackError as error:
        raise ImagesError(str(error)) from None
    x, y = pack["x"], pack.get("y")
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise ImagesError(f"{path}: `x` must be uint8 (N, H, W) or (N, H, W, C), it is {x.dtype} {x.shape}")
    if y is not None and (y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer)):
        raise ImagesError(f"{path}: `y` must hold one integer for each of the {len(x)} pictures")
    if count is not None and count < 1:
        raise ImagesError(f"--count must be 1 or more, not {count}")
    if count is not None and count > len(x):
        raise ImagesError(f"{path}: {len(x)} pictures in it, {count} were asked for")
    if not len(x):
        raise ImagesError(f"{path}: no pictures in it")
    return x[:count], None if y is None else y[:count]
