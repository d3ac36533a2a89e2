"""Pictures from a file: `.npz` with `x` and, where known, `y`."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

# what numpy and zipfile raise on files that are something else, damaged, or too large for the memory there is
READING = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError),
    *(NotImplementedError, zipfile.BadZipFile, zlib.error),
)


class ImagesError(Exception):
    """The file cannot be used; one line that says why."""


def load_images(path: Path, count: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """`x` uint8 (N, H, W) or (N, H, W, C), and `y` (N,) integers or None; the first `count` of them.

    Raises:
        ImagesError: not such a file.
    """
    try:
        with open(path, "rb") as file:
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.ndarray):
                raise ImagesError(f"{path}: one bare array: write an .npz with numpy.savez(FILE, x=pictures)")
            with data:
                if "x" not in data:
                    raise ImagesError(
                        f"{path}: no array `x` in it (found: {', '.join(data.files) or 'none'})"
                    )
                x, y = data["x"], data.get("y", None)
    except FileNotFoundError:
        raise ImagesError(f"{path}: no such file") from None
    except READING as error:
        why = " ".join(str(error).split())
        if "pickle" in why:  # numpy's advice is to load it all the same
            why = "no archive, or one of Python objects"
        raise ImagesError(
            f"{path}: not an .npz of plain arrays ({why}): write one with numpy.savez(FILE, x=pictures)"
        ) from None
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
