"""The one exception of the parsers."""

from blindsight.errors import OneLine


class WireError(OneLine, ValueError):
    """Bytes or text that docs/wire.md does not allow; the message is one line and holds no secret."""
