"""What comes down: receipts, results, failures (docs/wire.md, section 5). Parsing and opening, no side
effects.

A result is the sum of two shares of the same attempt: the attempt number stands in the clear beside the
cloud's share and is bound into the helper's sealed one, so shares of different attempts never add up; neither
server alone can read the sum. A cloud that sends another share than the right one changes the answer
(semi-honest model), never learns it.
"""

import struct

from bsdev.aead import open_sealed
from bsdev.keys import str8
from bsdev.settings import REVEAL

RECEIPT, RESULT, FAILURE = 1, 2, 3


def receipt_hash(body):
    """The manifest hash of a receipt, or None when malformed."""
    return bytes(body) if len(body) == 32 else None


def failure(body):
    """(code, reason), or None when malformed."""
    if len(body) < 2 or len(body) != 2 + body[1]:
        return None
    try:
        return body[0], str(bytes(body[2:]), "utf-8")
    except (UnicodeError, ValueError):
        return None


def open_result(body, cfg, pic):
    """(attempt, values): the revealed numbers mod 2^32; ValueError says why a message is not this picture's
    result."""
    if len(body) < 7:
        raise ValueError("result too short")
    attempt, reveal, count = struct.unpack_from("<IBH", body, 0)
    if not count or len(body) != 7 + 4 * count + 24 + 4 * count + 16:
        raise ValueError("result of the wrong length")
    if reveal != REVEAL[cfg.reveal]:
        raise ValueError("result in another reveal mode")
    aad = b"blindsight/1 result" + str8(cfg.device) + bytes.fromhex(pic.id) + pic.hash + cfg.plan_hash
    aad += struct.pack("<BI", reveal, attempt)
    share = open_sealed(pic.key, body[7 + 4 * count :], aad)
    if share is None:
        raise ValueError("the helper's share does not open: wrong key, attempt or picture")
    values = []
    for i in range(count):
        a = struct.unpack_from("<I", body, 7 + 4 * i)[0]
        b = struct.unpack_from("<I", share, 4 * i)[0]
        values.append((a + b) & 0xFFFFFFFF)
    return attempt, values


def classify(values, cfg):
    """(index, label, extra): the class, its label ("" when unnamed) and, past top1, what else was
    revealed."""
    extra = {}
    if cfg.reveal in ("top1", "topk"):
        index = values[0]
        if cfg.reveal == "topk":
            extra["indices"] = values
    else:
        signed = [v - (1 << 32) if v >> 31 else v for v in values]
        index = signed.index(max(signed))
        extra["values"] = [v / (1 << cfg.output_scale_bits) for v in signed]
    label = cfg.labels[index] if index < len(cfg.labels) else ""
    return index, label, extra
