"""Plots as inline SVG: stacked bars, bars with their band, lines. No script, no font, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999933", "#882255", "#44aa99", "#dd8855",
    "#6655aa", "#777777", "#225555", "#bb7799", "#557722", "#336699",
)  # fmt: skip
WIDTH, ROW, LEFT, RIGHT = 860, 24, 210, 90


def number(v: float) -> str:
    """Short, for people."""
    if v == 0:
        return "0"
    if 10000 <= v < 1e15 and v == int(v):
        return f"{int(v):,}" if v < 1e6 else f"{v:.2g}"
    if v >= 10000 or v < 0.001:
        return f"{v:.2g}"
    return f"{v:.4g}" if v >= 1000 else f"{v:.3g}"


def _frame(height: float, body: list[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def stacked(rows: list[tuple[str, list[tuple[str, float]]]], unit: str, label: str) -> str:
    """A bar a row, its parts side by side, with a key."""
    names = list(dict.fromkeys(n for _, parts in rows for n, _ in parts))
    colour = {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(names)}
    top = max((sum(v for _, v in parts) for _, parts in rows), default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / top
    body, y = [], 4.0
    for title, parts in rows:
        x = float(LEFT)
        body.append(_text(LEFT - 8, y + 15, title, "end"))
        for name, value in parts:
            body.append(
                f'<rect x="{x:.2f}" y="{y:g}" width="{max(value * scale, 0):.2f}" height="18" fill="{colour[name]}">'
                f"<title>{escape(name)}: {number(value)} {unit}</title></rect>"
            )
            x += value * scale
        body.append(_text(x + 6, y + 15, f"{number(sum(v for _, v in parts))} {unit}"))
        y += ROW
    y += 8
    x = float(LEFT)
    for name in names:
        if x > WIDTH - 150:
            x, y = float(LEFT), y + 20
        body.append(f'<rect x="{x:g}" y="{y:g}" width="12" height="12" fill="{colour[name]}"/>')
        body.append(_text(x + 17, y + 11, name))
        x += 32 + 7.2 * len(name)
    return _frame(y + 24, body, label)


def banded(rows: list[tuple[str, float, float, float]], unit: str, label: str) -> str:
    """A row each: the band as a line, the middle as a dot, on a logarithmic axis."""
    values = [v for _, *band in rows for v in band if v > 0]
    if not values:
        return ""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)
    scale = (WIDTH - LEFT - RIGHT) / (high - low)

    def at(v: float) -> float:
        return LEFT + (math.log10(max(v, 10.0**low)) - low) * scale

    bottom = 8 + ROW * len(rows)
    body = []
    for e in range(low, high + 1):
        x = LEFT + (e - low) * scale
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{bottom}" class="grid"/>')
        body.append(_text(x, bottom + 16, f"{number(10.0**e)} {unit}", "middle"))
    for i, (title, a, m, b) in enumerate(rows):
        y = 14 + ROW * i
        body.append(_text(LEFT - 8, y + 4, title, "end"))
        body.append(f'<line x1="{at(a):.1f}" x2="{at(b):.1f}" y1="{y}" y2="{y}" class="band"/>')
        body.append(f'<circle cx="{at(m):.1f}" cy="{y}" r="5" fill="{COLOURS[0]}"/>')
        body.append(_text(at(b) + 8, y + 4, number(m)))
    return _frame(bottom + 24, body, label)


def ticks(top: float, most: int = 5) -> list[float]:
    """Round numbers from 0 to `top`, at most so many beside 0."""
    step = 10.0 ** math.floor(math.log10(top))
    while top / step > most:
        step *= 2 if f"{step:e}"[0] != "2" else 2.5
    while top / step < most / 2.5:
        step /= 2 if f"{step:e}"[0] != "5" else 2.5
    return [i * step for i in range(int(top / step + 1e-9) + 1)]


def line(
    points: list[tuple[float, float]], x_unit: str, y_unit: str, label: str, steps: bool = False,
    spans: Sequence[tuple[float, float, str]] = (),
) -> str:  # fmt: skip
    """A line through (x, y) points, from zero; `steps` holds each value to the next point. `spans`: (from, to, name) of
    times to be shaded.
    """
    height = 240
    top = max((y for _, y in points), default=0) or 1
    wide = max((x for x, _ in points), default=0) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        return 70 + x / wide * (WIDTH - 110), 20 + (1 - y / top) * (height - 60)

    body = []
    for begin, end, name in spans:
        x, x2 = at(min(begin, wide), 0)[0], at(min(end, wide), 0)[0]
        body.append(
            f'<rect x="{x:.1f}" y="20" width="{max(x2 - x, 1.5):.1f}" height="{height - 60}" fill="#ee6677" '
            f'opacity=".25"><title>{escape(name)}</title></rect>'
        )
    for y in ticks(top):
        body.append(
            f'<line x1="70" x2="{WIDTH - 40}" y1="{at(0, y)[1]:.1f}" y2="{at(0, y)[1]:.1f}" class="grid"/>'
        )
        body.append(_text(64, at(0, y)[1] + 4, number(y), "end"))
    for x in ticks(wide)[1:]:
        body.append(_text(at(x, 0)[0], height - 22, number(x), "middle"))
    body.append(_text(4, 12, y_unit))
    body.append(_text(WIDTH - 40, height - 4, x_unit, "end"))
    path, before = "", 0.0
    for i, (x, y) in enumerate(points):
        if steps and i:
            path += "L{:.1f},{:.1f}".format(*at(x, before))
        path += ("L" if i else "M") + "{:.1f},{:.1f}".format(*at(x, y))
        before = y
    body.append(f'<path d="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
    return _frame(height, body, label)


def events(times: list[float], wide: float, unit: str, label: str) -> str:
    """A mark at each time, on a line of `wide`."""
    scale = (WIDTH - 110) / (wide or 1)
    body = [f'<line x1="70" x2="{WIDTH - 40}" y1="40" y2="40" class="grid"/>']
    body += [
        f'<line x1="{70 + t * scale:.1f}" x2="{70 + t * scale:.1f}" y1="14" y2="40" stroke="{COLOURS[1]}" stroke-width="1.5"/>'
        for t in times
    ]
    body += [_text(70, 58, "0"), _text(WIDTH - 40, 58, f"{number(wide)} {unit}", "end")]
    return _frame(66, body, label)
