"""Picture files to the pixels a model takes: turned upright, the largest centred part of its aspect ratio, reduced."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np

from blindsight.client.errors import ClientError

MAX_PIXELS = 1 << 26  # of a file, before it is reduced


def load(path: Path | BinaryIO, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 (height, width, channels) from a picture file (PNG, JPEG and what else Pillow reads) or its bytes."""
    name = str(path) if isinstance(path, Path) else "the picture"
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ClientError("picture files need Pillow: pip install 'blindsight[client]'") from None
    height, width, channels = shape
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error")
            if image.width * image.height > MAX_PIXELS:
                raise ClientError(
                    f"{name}: {image.width} x {image.height} pixels, more than {MAX_PIXELS} in all"
                )
            upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            fitted = ImageOps.fit(upright, (width, height), Image.Resampling.BOX)
            return np.asarray(fitted, np.uint8).reshape(shape)
    except ClientError:
        raise
    except OSError as error:
        raise ClientError(f"{name}: {error.strerror or 'not a picture'}") from None
    except Exception:  # decoders of hostile files raise whatever they meet
        raise ClientError(f"{name}: not a picture, or a damaged one") from None
