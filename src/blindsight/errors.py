"""Errors that quote what came from a file or a peer, and stay one short line whatever that was.

Adversary: whoever writes the file or the message; a line of a log must not be forged by it, nor a terminal driven.
"""

from __future__ import annotations


def quoted(said: object, limit: int = 200) -> str:
    """The text of `said` on one line of at most `limit` printable characters; the middle of a longer one is left out."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(said)).split())
    if len(text) <= limit:
        return text
    gap = " ... "
    end = limit // 3  # errors end with what to do
    return text[: limit - end - len(gap)] + gap + text[-end:]


class OneLine(Exception):
    """One line of at most `LIMIT` characters, said with `str`."""

    LIMIT = 600

    def __str__(self) -> str:
        return quoted(super().__str__(), self.LIMIT)
