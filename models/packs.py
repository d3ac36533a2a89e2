"""Packs of pictures: `.npz` files of plain arrays, read without trusting them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blindsight.errors import OneLine, quoted


class PackError(OneLine):
    """The file cannot be read; one line that says why."""


def read_pack(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Those arrays of `names` that the file holds, the first of them always.

    Raises:
        PackError: no such file, no archive of plain arrays, or not the first of `names` in it.
    """
    try:
        with open(path, "rb") as file:
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.ndarray):
                raise PackError(
                    f"{path}: one bare array: write an .npz with numpy.savez(FILE, {names[0]}=pictures)"
                )
            with data:
                found = {name: data[name] for name in names if name in data}
                held = quoted(", ".join(data.files))
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("an entry that is no array")  # numpy gives its bytes
    except FileNotFoundError:
        raise PackError(f"{path}: no such file") from None
    except PackError:
        raise
    except Exception as error:  # numpy and zipfile raise whatever a damaged file makes them meet
        why = quoted(error)
        if "pickle" in why:  # numpy's advice is to load it all the same
            why = "no archive, or one of Python objects"
        raise PackError(
            f"{path}: not an .npz of plain arrays ({why}): write one with numpy.savez(FILE, {names[0]}=pictures)"
        ) from None
    if names[0] not in found:
        raise PackError(f"{path}: no array `{names[0]}` in it (found: {held or 'none'})")
    return found
