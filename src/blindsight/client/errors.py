"""What can go wrong for a sender of pictures."""

from __future__ import annotations

from blindsight.errors import OneLine


class ClientError(OneLine):
    """One line that names the fix."""


class Refused(ClientError):
    """The servers say that no result will come; `code` as in docs/wire.md section 5."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the servers refused the picture: {reason} (code {code})")
        self.code, self.reason = code, reason


class NoAnswer(ClientError):
    """The time limit passed. The picture may still be answered: `Client.resume` waits for it again."""
