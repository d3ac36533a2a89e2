"""What every page is made of: the document around its parts, and tables."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}
svg{width:100%;height:auto;font:12px system-ui,sans-serif;fill:#222}table{border-collapse:collapse;font-size:13px}
td,th{padding:3px 9px;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
.grid{stroke:#ccc}.band{stroke:#4477aa;stroke-width:4;opacity:.45}h2{margin-top:2em}.wide{overflow-x:auto}
"""


def document(title: str, parts: list[str]) -> str:
    """One HTML page with everything in it: no script, no request, readable from a file."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>" + "\n".join(parts) + "</body></html>\n"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """Escaped."""
    head = "".join(f"<th>{escape(h)}</th>" for h in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def plain(value: Any) -> str:
    """A value of a report for people."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
