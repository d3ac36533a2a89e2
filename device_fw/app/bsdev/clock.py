"""Waiting: milliseconds that wrap, jitter, and how long to be patient with a picture. And the event log."""

import json
import random
import time


def event(kind, **fields):
    """One JSON object a line on standard output; host tools follow the device by it. Never a secret in it."""
    fields["event"] = kind
    print(json.dumps(fields))


def after(seconds):
    """The tick `seconds` from now."""
    return time.ticks_add(time.ticks_ms(), int(seconds * 1000))


def left(ticks):
    """Milliseconds until `ticks`; negative when past."""
    return time.ticks_diff(ticks, time.ticks_ms())


def spread(seconds):
    """Jitter: between half and the whole of it, so that devices do not come back in step."""
    return seconds * (0.5 + random.random() / 2)


def doubled(first, times, most):
    """Jittered exponential backoff, seconds."""
    return spread(min(first * 2 ** min(times, 16), most))


def patience(cfg, pic):
    """Set when a picture is due again: the next resend, or the next reminder once it is accepted."""
    pic.sends += 1
    pic.due = after(doubled(cfg.retry_s, pic.sends, cfg.retry_max_s))
