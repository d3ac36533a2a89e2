"""config.json without its labels in RAM: a thousand class names would take half the heap, so they stay on
flash.

`load(path)` reads everything else; `Labels` finds one name by its index when an answer comes.
"""

import io
import json


class _Scanner:
    """Follows JSON text byte by byte just closely enough to know strings and nesting."""

    def __init__(self):
        self.depth = 0
        self.inside = False  # a string
        self._escape = False

    def step(self, c):
        if self.inside:
            if self._escape:
                self._escape = False
            elif c == 0x5C:
                self._escape = True
            elif c == 0x22:
                self.inside = False
        elif c == 0x22:
            self.inside = True
        elif c in b"[{":
            self.depth += 1
        elif c in b"]}":
            self.depth -= 1


def _bytes(f):
    chunk = bytearray(128)
    while True:
        n = f.readinto(chunk)
        if not n:
            return
        for i in range(n):
            yield chunk[i]


def _find(path):
    """(offset of the `[` of the top-level "labels" array, offset past its `]`, strings in it), or (0, 0,
    0)."""
    scan = _Scanner()
    at = begin = count = 0
    text = b""  # the current string at depth 1, cut to 8 bytes
    with open(path, "rb") as f:
        for c in _bytes(f):
            was, depth = scan.inside, scan.depth
            scan.step(c)
            at += 1
            if begin:
                count += was and not scan.inside and depth == 2
                if scan.depth == 1 and not scan.inside and depth == 2:
                    return begin - 1, at, count
            elif was and scan.inside and depth == 1:
                text = (text + bytes((c,)))[:8]
            elif not was and scan.inside:
                text = b""
            elif c == 0x5B and depth == 1 and text == b"labels":
                begin = at
            elif c == 0x2C and depth == 1:
                text = b""
    return 0, 0, 0


class _Without(io.IOBase):
    """The file with bytes begin .. end left out, `[]` in their place."""

    def __init__(self, f, begin, end):
        self._f = f
        self.begin = begin
        self.end = end
        self._at = 0

    def readinto(self, buf):
        if self.begin <= self._at < self.begin + 2 and self.end:
            buf[0] = 0x5B if self._at == self.begin else 0x5D
            self._at += 1
            if self._at == self.begin + 2:
                self._f.seek(self.end)
            return 1
        n = self._f.readinto(memoryview(buf)[:1])
        self._at += n
        return n


class Labels:
    """A read-only sequence of class names; len() and [index] only."""

    def __init__(self, path, begin, count):
        self.path = path
        self.begin = begin
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError("label")
        scan = _Scanner()
        text = bytearray()
        with open(self.path, "rb") as f:
            f.seek(self.begin)
            for c in _bytes(f):
                was = scan.inside
                scan.step(c)
                if index == 0 and (was or scan.inside):
                    text.append(c)
                if was and not scan.inside:
                    if index == 0:
                        return json.loads(str(text, "utf-8"))
                    index -= 1
        raise IndexError("label")


def load(path):
    """The object in a JSON file; its `labels`, a list of strings, as Labels. OSError, ValueError as
    json.load."""
    begin, end, count = _find(path)
    with open(path, "rb") as f:
        values = json.load(_Without(f, begin, end))
    if end:
        values["labels"] = Labels(path, begin, count)
    return values
