"""The one exception of the parsers."""


class WireError(ValueError):
    """Bytes or text that docs/wire.md does not allow; the message is one line and holds no secret."""
