"""The report page: one file, no script, nothing fetched; ROC curves on logarithmic scales as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from blindsight.evaluation.membership import Report

SIZE, LEFT, BOTTOM, LOW = 380, 52, 40, 1e-3
COLOURS = ("#c0392b", "#e67e22", "#2c6fbb", "#27907a", "#7d4fa8", "#6b6b6b", "#b0892c", "#3a3a8c")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 74rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; background: #fff }
table { border-collapse: collapse; margin: .6rem 0 1.6rem }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } .bad { color: #b3261e; font-weight: 600 } .good { color: #1b6e3c; font-weight: 600 }
figure { display: inline-block; margin: 0 1.2rem 1.2rem 0 } figcaption { font-weight: 600 } svg text { font: 11px system-ui, sans-serif }
"""


def page(report: Report) -> str:
    """The whole page."""
    f = report.figures
    verdict, network = f["verdict"], f["network"]
    groups: dict[str, list[str]] = {
        "in the clear": [n for n in report.curves if n.startswith("in the clear")]
    }
    for name in f["views"]:
        groups.setdefault(" / ".join(name.split(".")[:2]), []).append(name)
    figures = "".join(_plot(title, {n: report.curves[n] for n in names}) for title, names in groups.items())
    guessing = "on every view of either server every interval contains what guessing gives"
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Blindsight: membership inference</title>
<style>{STYLE}</style><h1>Membership inference: in the clear, and on what each server sees</h1>
<p>{f["members"]} members and as many others ({_text(f["pictures"])}); the attacker knows {f["known_each"]} of each kind
beforehand and is judged on the rest. The network is overfitted on purpose: {network["accuracy_members"]:.1%} right on
members, {network["accuracy_non_members"]:.1%} on others. The secure runs gave its class in
{network["secure_top1_agreement"]:.2%} of the pictures. {f["seconds"]:.0f} s.</p>
<ul><li>{_mark(verdict["control_succeeds"])} both attacks succeed in the clear (AUC at least 0.70);</li>
<li>{_mark(verdict["views_say_nothing"])} {guessing} (simultaneous 95 %, Bonferroni over views and kinds of figure: one run
in twenty shows an exception by chance);</li>
<li>{_mark(verdict["attacks_could_succeed"])} each of these attacks succeeds on its view laid bare;</li>
<li>{_mark(verdict["views_uniform"])} shares, openings, ciphertexts and messages are uniform, members' as others';</li>
<li>{_mark(verdict["sizes_equal"])} message sizes and counts are equal for all pictures;</li>
<li>{_mark(verdict["controls_caught"])} every negative control is caught.</li></ul>
<h2>ROC curves</h2>{figures}
<h2>Attacks</h2>{_attacks(f)}
<h2>Negative controls</h2>
<p>One thing is left out; the test made for it must notice, and must pass on the real protocol.</p>{_controls(f)}
<h2>The same attacks on views laid bare</h2>
<p>Could the attacks have found anything? In the views of {f["size"]["bare"]} pictures of each kind the secret is put back,
one thing for each attack: the other server's share is added, also in place of an opening; the ingest shows the picture; one
message is the logits; members take one standard deviation longer. What an attack does not find there it cannot be trusted
to find above: {_text(", ".join(verdict["blind_attacks"]) or "none is blind")}.</p>
{_table(_row(n, r, n in verdict["blind_attacks"]) for n, r in f["laid_bare"].items())}
<h2>Uniformity of the views</h2>
<p>The least p-value of each server's view over all pictures (shares, openings less its own part of the mask, their differences,
what the helper decrypts, every bit of every message but the public ones); below 10<sup>-6</sup> is a finding.</p>
{_uniform(f["uniformity"])}
<h2>What remains</h2>
<p>Whoever gets outputs keeps black-box powers, whatever the protocol. This network gives away its members by the label
alone; revealing only <code>top1</code> leaves the gap between members and others, revealing logits leaves more. Only
training can change that.</p>
{_table(_outputs(f))}
</html>
"""


def _plot(title: str, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    lines, key = [], []
    for i, (name, (fpr, tpr)) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        points = _thinned(fpr, tpr)
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        label = name.split(".")[-1].split(": ")[-1]
        key.append(f'<text x="{LEFT + 8}" y="{16 + 14 * i}" fill="{colour}">{_text(label)}</text>')
    ticks = []
    for power in range(round(math.log10(LOW)), 1):
        value = 10.0**power
        text = f"{value:g}"
        ticks.append(f'<text x="{_x(value):.0f}" y="{SIZE - BOTTOM + 14}" text-anchor="middle">{text}</text>')
        ticks.append(f'<text x="{LEFT - 4}" y="{_y(value) + 4:.0f}" text-anchor="end">{text}</text>')
        ticks.append(
            f'<path d="M{_x(value):.1f} {_y(1):.1f}V{_y(LOW):.1f}M{_x(LOW):.1f} {_y(value):.1f}H{_x(1):.1f}" stroke="#ddd"/>'
        )
    guess = f'<path d="M{_x(LOW):.1f} {_y(LOW):.1f}L{_x(1):.1f} {_y(1):.1f}" stroke="#000" stroke-dasharray="4 4"/>'
    middle, turned = f'text-anchor="middle" y="{SIZE - 6}"', f'transform="rotate(-90 12 {SIZE / 2})"'
    axes = f'<text x="{SIZE / 2}" {middle}>false-positive rate</text>'
    axes += f'<text x="12" y="{SIZE / 2}" {turned} text-anchor="middle">true-positive rate</text>'
    return (
        f'<figure><figcaption>{_text(title)}</figcaption><svg width="{SIZE}" height="{SIZE}" viewBox="0 0 {SIZE} {SIZE}" role="img">'
        f"{''.join(ticks)}{guess}{''.join(lines)}{''.join(key)}{axes}</svg></figure>"
    )


def _thinned(fpr: np.ndarray, tpr: np.ndarray) -> str:
    """At most 200 steps of the curve, evenly spaced on the logarithmic axis."""
    at = np.logspace(math.log10(LOW), 0, 200)
    last = np.searchsorted(fpr, at, side="right") - 1
    return " ".join(f"{_x(a):.1f},{_y(t):.1f}" for a, t in zip(at, tpr[last], strict=True))


def _x(value: float) -> float:
    return LEFT + (SIZE - LEFT - 12) * (1 - math.log10(max(value, LOW)) / math.log10(LOW))


def _y(value: float) -> float:
    return 6 + (SIZE - BOTTOM - 6) * math.log10(max(value, LOW)) / math.log10(LOW)


def _attacks(f: dict[str, Any]) -> str:
    rows = [_row(f"in the clear: {n}", f["control"][n]) for n in ("whitebox", "lira")]
    rows += [_row(n, r, n in f["verdict"]["telling_views"]) for n, r in f["views"].items()]
    return _table(rows)


def _outputs(f: dict[str, Any]) -> list[str]:
    o = f["outputs"]
    return [
        _row("top1: right or wrong", o["top1"]["gap"]),
        _row("top1 of shifted copies", o["top1"]["augmented"]),
        _row("logits, likelihood ratio", o["logits"]),
    ]


def _row(name: str, r: dict[str, float], bad: bool = False) -> str:
    cells = [
        f"{r['auc']:.3f}",
        f"{r['auc_low']:.3f} .. {r['auc_high']:.3f}",
        *(
            f"{r[k]:.2%} ({r[k + '_low']:.2%} .. {r[k + '_high']:.2%})"
            for k in ("tpr_at_1pct", "tpr_at_01pct")
        ),
        f"{r['balanced_accuracy']:.3f} ({r['balanced_accuracy_low']:.3f} .. {r['balanced_accuracy_high']:.3f})",
    ]
    kind = ' class="bad"' if bad else ""
    return f"<tr{kind}><td>{_text(name)}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"


def _table(rows: Iterable[str]) -> str:
    head = "".join(
        f"<th>{h}</th>"
        for h in ("attack", "AUC", "interval", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "balanced accuracy")
    )
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _controls(f: dict[str, Any]) -> str:
    rows = []
    for name, c in f["controls"].items():
        figures = (f"{c['figures'][k]:.3g}" for k in ("broken", "real"))
        rows.append(
            f"<tr><td>{_text(name)}</td><td>{_mark(f['negative_controls'][name])}</td><td>{_text(c['what'])}</td>"
            f"{''.join(f'<td>{x}</td>' for x in figures)}</tr>"
        )
    head = "".join(f"<th>{h}</th>" for h in ("left out", "caught", "test", "broken", "real"))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _uniform(found: dict[str, dict[str, float]]) -> str:
    rows = []
    for who, row in found.items():
        least = min(row, key=lambda name: row[name])
        rows.append(
            f"<tr><td>{_text(who)}</td><td>{len(row)}</td><td>{row[least]:.2g}</td><td>{_text(least)}</td></tr>"
        )
    return f"<table><tr><th>view</th><th>tests</th><th>least p</th><th>of</th></tr>{''.join(rows)}</table>"


def _mark(good: bool) -> str:
    return '<span class="good">yes</span>' if good else '<span class="bad">NO</span>'


def _text(value: object) -> str:
    return html.escape(str(value))
