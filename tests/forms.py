"""Secrets in files, however they were written down: as bytes, text, or a list of numbers."""

import base64
import collections
import json
import re
from collections.abc import Iterable

import numpy as np

HEAD = 8  # bytes of a form by which it is looked up


def forms(secret: bytes) -> set[bytes]:
    """What `secret` looks like within a longer one that was written raw, in hexadecimal, in base64 (wherever it starts), as
    Python's or JSON's text, or as decimal numbers between commas (`search` makes commas of spaces and brackets).
    """
    out = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        text = base64.b64encode(bytes(before) + secret)
        whole = text[-(-8 * before // 6) : 8 * (before + len(secret)) // 6]  # characters of these bits alone
        out |= {whole, whole.translate(bytes.maketrans(b"+/", b"-_"))}
    out |= {repr(secret)[2:-1].encode(), json.dumps(secret.decode("latin1"))[1:-1].encode()}
    return out | {secret.hex(by).encode() for by in (":", " ")} | {b",".join(b"%d" % byte for byte in secret)}


class Search:
    """Looks for many secrets at once, each of 8 bytes or more."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._words: dict[int, list[bytes]] = collections.defaultdict(list)
        for word in set().union(*map(forms, secrets)):
            assert len(word) >= HEAD, word
            self._words[int.from_bytes(word[:HEAD], "little")].append(word)
        self._heads = np.array(sorted(self._words), np.uint64)

    def found(self, data: bytes) -> bool:
        """Whether any form of any of them is in `data`."""
        return self._in(data) or self._in(re.sub(rb"[\s,\[\]()]+", b",", data))

    def _in(self, data: bytes) -> bool:
        for start in range(min(HEAD, len(data))):
            count = (len(data) - start) // HEAD
            heads = np.frombuffer(data, "<u8", count, start)
            for at in np.flatnonzero(np.isin(heads, self._heads)):
                here = start + HEAD * int(at)
                if any(data.startswith(word, here) for word in self._words[int(heads[at])]):
                    return True
        return False
