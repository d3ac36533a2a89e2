"""Pictures from a file: `.npz` with `x` and, where known, `y`."""

import zipfile
from pathlib import Path

import numpy as np


class ImagesError(Exception):
    """The file cannot be used; one line that says why."""


def load_images(path: Path, count: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """`x` uint8 (N, H, W) or (N, H, W, C), and `y` (N,) integers or None; the first `count` of them.

    Raises:
        ImagesError: not such a file.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as data:
            if "x" not in data:
                raise ImagesError(f"{path}: no array `x` in it (found: {', '.join(data.files) or 'none'})")
            x = data["x"]
            y = data.get("y", None)
    except FileNotFoundError:
        raise ImagesError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ImagesError(f"{path}: not an .npz of plain arrays ({error})") from None
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
