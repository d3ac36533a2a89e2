"""Fixed-size fields and `str8`, read with every length checked first."""

from __future__ import annotations

from blindsight.wire.errors import WireError


def str8(text: str) -> bytes:
    """`u8` length followed by that many bytes of UTF-8; at most 255 bytes, else `WireError`."""
    raw = text.encode()
    if len(raw) > 255:
        raise WireError(f"text of {len(raw)} bytes does not fit a str8")
    return bytes([len(raw)]) + raw


class Reader:
    """Takes fields off the front of `data`; raises `WireError` naming the field where bytes are missing or
    left.
    """

    def __init__(self, data: bytes | bytearray | memoryview, what: str) -> None:
        self._data = bytes(data)
        self._at = 0
        self._what = what

    def take(self, count: int, field: str) -> bytes:
        """Exactly `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise WireError(f"{self._what} is cut short at its {field}")
        out = self._data[self._at : end]
        self._at = end
        return out

    def uint(self, size: int, field: str) -> int:
        """A little-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size, field), "little")

    def str8(self, field: str) -> str:
        """A `str8`; bytes that are no UTF-8 are refused."""
        raw = self.take(self.uint(1, field), field)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise WireError(f"{self._what}: its {field} is not UTF-8") from None

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self._data) - self._at

    def end(self) -> None:
        """Refuses anything that follows the last field."""
        if self.left:
            raise WireError(f"{self._what} has {self.left} bytes too many")
