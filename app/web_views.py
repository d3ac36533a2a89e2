"""From what the stage heard to what the page shows: bytes become pictures, two shares become one number.

The page's person owns both servers' records, so the two shares of a tensor may be added here, and nowhere else: that
is how the page shows that either half is noise and only both together are an activation.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from blindsight.app.web_watch import SIDE

SHOWN = 4  # channels of a tensor on the page, the liveliest of those recorded


class Views:
    """Turns the events of one picture into events that are JSON; `pixels` uint8 (H, W, C), `result_scale` bits of what
    the plan reveals (0: a class index).
    """

    def __init__(self, pixels: np.ndarray, result_scale: int) -> None:
        self._pixels, self._result_scale = pixels, result_scale
        self._blocks: dict[int, bytes] = {}
        self._scales: dict[str, int] = {}
        self._ended: dict[str, float] = {}
        self._views: dict[str, dict[str, Any]] = {}

    def page(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """What the page gets for an event: itself without bulk, and whatever has become complete with it."""
        kind, who = event["event"], event["who"]
        if kind == "message":
            return self._message(event)
        if kind == "run":
            opened = [self._opened(event)] if who == "helper" else []
            return [{k: v for k, v in event.items() if not k.startswith("ingest")}, *opened]
        if kind == "pixels":
            return [self._pixel_share(event)] if who == "cloud" else []
        if kind == "layer":
            output = event["kind"] == "output"
            self._scales[event["layer"]] = self._result_scale if output else event["scale"]
            self._ended[event["layer"]] = event["ended"]
        if kind != "view":
            return [event]
        self._views[who] = event
        return self._together() if len(self._views) == 2 else []

    def _message(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        payload: bytes = event.pop("payload")
        event |= {"bytes": len(payload), "head": payload[:24].hex()}
        if event["way"] == "up" and event["part"].isdigit():
            self._blocks[int(event["part"])] = payload
            joined = b"".join(self._blocks[i] for i in sorted(self._blocks))
            return [event, self._seen("ciphertext", "broker", np.frombuffer(joined, np.uint8), event["t"])]
        return [event]

    def _opened(self, run: dict[str, Any]) -> dict[str, Any]:
        """What the helper decrypted: pixel plus mask (10 bits, the top 8 shown), or the keystream."""
        raw = base64.b64decode(run["ingest"])
        values = np.frombuffer(raw, "<u2") >> 2 if run["ingest_bits"] == 16 else np.frombuffer(raw, np.uint8)
        return self._seen("opened", "helper", values.astype(np.uint8), run["t"])

    def _pixel_share(self, event: dict[str, Any]) -> dict[str, Any]:
        """The cloud's share of the pixels, its top 8 bits; of a large picture every so many pixels."""
        share = np.frombuffer(base64.b64decode(event["share"]), np.uint8).reshape(event["shape"])
        down, across = (-(-n // SIDE) for n in self._pixels.shape[:2])
        same = noise(share.transpose(1, 2, 0).reshape(-1), self._pixels[::down, ::across])
        return {
            "event": "pixels",
            "who": "cloud",
            "t": event["t"],
            "image": event["share"],
            "shape": event["shape"],
            **same,
        }

    def _seen(self, event: str, who: str, data: np.ndarray, t: float) -> dict[str, Any]:
        return {
            "event": event, "who": who, "t": t, "bytes": len(data), **noise(data, self._pixels),
            "image": encoded(np.resize(data, self._pixels.shape)), "shape": list(self._pixels.shape),
        }  # fmt: skip

    def _together(self) -> list[dict[str, Any]]:
        """Each tensor's two shares and their sum, at the time they came to be; then the result's."""
        cloud, helper = self._views["cloud"], self._views["helper"]
        out = []
        for mine, theirs in zip(cloud["layers"], helper["layers"], strict=True):
            a, b = (
                np.frombuffer(base64.b64decode(v["share"]), "<u4").reshape(v["shape"]) for v in (mine, theirs)
            )
            name = mine["layer"]
            out.append(
                {"event": "share", "who": "owner", "t": self._ended[name], "layer": name, "cloud_heard": mine["head"],
                 "helper_heard": theirs["head"], **added(a, b, self._scales[name])}
            )  # fmt: skip
        halves = [int(x) for x in (cloud["result"][0], helper["result"][0])]
        last = max(cloud["t"], helper["t"])
        return [
            *out,
            {"event": "halves", "who": "owner", "t": last, "result": [*halves, sum(halves) % (1 << 32)]},
        ]


def added(a: np.ndarray, b: np.ndarray, scale: int) -> dict[str, Any]:
    """Both shares and their sum as pictures, uint8 [c, h, w], and one element in numbers."""
    total = (a + b).view(np.int32).astype(np.float64) / 2.0**scale
    lively = np.sort(np.argsort(total.std(axis=(1, 2)))[::-1][:SHOWN])
    shown = total[lively]
    low, high = float(shown.min()), float(shown.max())
    grey = np.round(255 * (shown - low) / (high - low)) if high > low else np.zeros_like(shown)
    at = np.unravel_index(int(np.abs(shown).argmax()), shown.shape)
    return {
        "shape": list(shown.shape),
        "cloud": encoded((a[lively] >> 24).astype(np.uint8)),
        "helper": encoded((b[lively] >> 24).astype(np.uint8)),
        "sum": encoded(grey.astype(np.uint8)),
        "low": low,
        "high": high,
        "example": [int(a[lively][at]), int(b[lively][at]), float(shown[at])],
    }


def noise(data: np.ndarray, pixels: np.ndarray) -> dict[str, float]:
    """How much bytes resemble noise: bits of entropy a byte, what as many random bytes would show, and the greatest
    correlation (absolute) of the first of them with the picture's bytes.
    """
    n = min(len(data), pixels.size)
    x, y = data[:n].astype(np.float64), pixels.reshape(-1)[:n].astype(np.float64)
    spread = x.std() * y.std()
    return {
        "entropy": entropy(np.bincount(data, minlength=256)),
        "entropy_random": 8 - 255 / (2 * math.log(2) * max(len(data), 64)),
        "correlation": abs(float(((x - x.mean()) * (y - y.mean())).mean() / spread)) if spread else 0.0,
    }


def entropy(counts: np.ndarray) -> float:
    """Bits a byte of a histogram."""
    p = counts[counts > 0] / max(1, counts.sum())
    return float(-(p * np.log2(p)).sum()) + 0.0


def encoded(data: np.ndarray) -> str:
    """Base 64 of uint8."""
    return base64.b64encode(np.ascontiguousarray(data).tobytes()).decode("ascii")
