"""The PNG strip of the demonstration: the same picture as each party saw it. Pillow or matplotlib's,
whichever is there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIZE, GAP, TOP = 224, 16, 28


def strip(panels: list[tuple[str, np.ndarray]], path: Path) -> None:
    """Writes panels (title, uint8 (H, W, 1 or 3)) side by side, enlarged without smoothing."""
    from PIL import Image, ImageDraw

    width = GAP + len(panels) * (SIZE + GAP)
    sheet = Image.new("RGB", (width, SIZE + TOP + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (title, pixels) in enumerate(panels):
        left = GAP + i * (SIZE + GAP)
        rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        sheet.paste(
            Image.fromarray(np.ascontiguousarray(rgb)).resize((SIZE, SIZE), Image.Resampling.NEAREST),
            (left, TOP),
        )
        draw.text((left, 8), title, fill="black")
    sheet.save(path)
