"""What a cloud worker and a helper worker say to each other (docs/wire.md section 7): requests, refusals,
HELLO.

Both ends are authenticated, yet neither trusts the other's lengths: every field is checked for type and range
here. Nothing in these messages is secret; the manifest names device and image, and the salt of its
commitments never appears.
"""

from __future__ import annotations

import enum
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from blindsight.errors import OneLine, quoted
from blindsight.wire import keys
from blindsight.wire.errors import WireError

MAX_MANIFEST = 1 << 23
MAX_POLYS = 1 << 27
BATCH_ID_BYTES = 16
INGESTS = ("mask", "xor")  # what pixels are shared as: `rlwe` and `rlwe-sk`; `aes`
_PAIR = re.compile(r"[a-z0-9-]{1,32}")


class Code(enum.IntEnum):
    """Refusals beside the failure codes 1..6 of `result.FailureCode`."""

    AGAIN = 16
    ANSWERED = 17
    RERUN = 18
    LOST = 19


class Refused(OneLine):
    """The helper declines; `code` and `reason` travel, so the reason holds no secret."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} (code {code})")
        self.code = code
        self.reason = reason

    def message(self) -> dict[str, Any]:
        """As a CONTROL message."""
        return {"op": "refuse", "code": int(self.code), "reason": self.reason[:200]}


def _hex(value: object, size: int, what: str) -> bytes:
    if isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value):
        return bytes.fromhex(value)
    raise WireError(f"job message: {what} is not {2 * size} lower-case hex digits")


def _int(value: object, low: int, high: int, what: str) -> int:
    if type(value) is int and low <= value <= high:
        return value
    raise WireError(f"job message: {what} is not an integer of {low} .. {high}")


def _text(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    raise WireError(f"job message: {what} is not text")


def _ingest(value: object) -> str:
    if value in INGESTS:
        return str(value)
    raise WireError(f"job message: ingest is one of {', '.join(INGESTS)}")


def _batches(value: object) -> tuple[tuple[str, int, int], ...]:
    if not isinstance(value, list | tuple):
        raise WireError("job message: batches is not a list")
    out = []
    for item in value:
        if not isinstance(item, list | tuple) or len(item) != 3:
            raise WireError("job message: a batch is [id, first, count]")
        name, first, count = item
        number = _hex(name, BATCH_ID_BYTES, "batch id").hex()
        out.append((number, _int(first, 0, 2**53, "first"), _int(count, 1, 16, "count")))
    return tuple(out)


class _Message:
    """JSON form of a dataclass: its fields and `op`."""

    OP: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """The CONTROL message."""
        body = {k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(self).items()}  # type: ignore[call-overload]
        return {"op": self.OP, **body}

    @classmethod
    def from_json(cls, message: dict[str, Any]) -> Self:
        """Checks every field; raises `WireError`."""
        values = {}
        for field in fields(cls):  # type: ignore[arg-type]
            if field.name not in message:
                raise WireError(f"job message {cls.OP!r} lacks {field.name!r}")
            values[field.name] = _CHECKS[field.name](message[field.name])
        return cls(**values)


_CHECKS: dict[str, Any] = {
    "device": lambda v: keys.check_device(_text(v, "device")),
    "image": lambda v: _hex(v, keys.IMAGE_BYTES, "image"),
    "attempt": lambda v: _int(v, 1, 2**32 - 1, "attempt"),
    "model": lambda v: keys.check_model(_text(v, "model")),
    "plan_hash": lambda v: _hex(v, 32, "plan_hash"),
    "version": lambda v: _hex(v, 32, "version"),
    "slot": lambda v: _int(v, 0, 2**53, "slot"),
    "manifest": lambda v: _int(v, 1, MAX_MANIFEST, "manifest"),
    "polys": lambda v: _int(v, 0, MAX_POLYS, "polys"),
    "batch": lambda v: _hex(v, BATCH_ID_BYTES, "batch"),
    "ingest": lambda v: _ingest(v),
    "cursor": lambda v: _int(v, 0, 2**53, "cursor"),
    "batches": lambda v: _batches(v),
    "first": lambda v: _int(v, 0, 2**53, "first"),
    "slots": lambda v: _int(v, 1, 16, "slots"),
}


@dataclass(frozen=True)
class Infer(_Message):
    """Run one attempt at one picture; `manifest` and `polys` are the byte counts of the DATA frames that
    follow.
    """

    OP: ClassVar[str] = "infer"
    device: str
    image: bytes
    attempt: int
    model: str
    plan_hash: bytes
    version: bytes
    slot: int
    manifest: int
    polys: int


@dataclass(frozen=True)
class Seal(_Message):
    """Seal, store and send the helper's share of this attempt."""

    OP: ClassVar[str] = "seal"
    device: str
    image: bytes
    attempt: int


@dataclass(frozen=True)
class MakeMaterial(_Message):
    """Make `slots` slots of material together, numbered from `first`."""

    OP: ClassVar[str] = "material"
    model: str
    plan_hash: bytes
    version: bytes
    ingest: str
    batch: bytes
    first: int
    slots: int


@dataclass(frozen=True)
class Pool(_Message):
    """What one side's pool holds: first unburnt index and batches (id, first, count). The answer has the
    same form.
    """

    OP: ClassVar[str] = "pool"
    model: str
    plan_hash: bytes
    version: bytes
    ingest: str
    cursor: int
    batches: tuple[tuple[str, int, int], ...]


Request = Infer | Seal | MakeMaterial | Pool
PING: dict[str, Any] = {"op": "ping"}
PONG: dict[str, Any] = {"op": "pong"}
ACCEPT: dict[str, Any] = {"op": "accept"}


def parse_request(message: dict[str, Any]) -> Request | None:
    """The request in a CONTROL message; None for a ping; `WireError` otherwise."""
    op = message.get("op")
    if op == "ping":
        return None
    for kind in (Infer, Seal, MakeMaterial, Pool):
        if op == kind.OP:
            return kind.from_json(message)
    raise WireError(f"job message: op {str(op)[:20]!r} is unknown")


def expect(message: dict[str, Any], op: str) -> dict[str, Any]:
    """`message` if it is an `op`; raises `Refused` where it refuses, else `WireError`."""
    if message.get("op") == "refuse":
        raise Refused(
            _int(message.get("code"), 1, 255, "code"), quoted(_text(message.get("reason"), "reason"))
        )
    if message.get("op") != op:
        raise WireError(f"job message: {str(message.get('op'))[:20]!r} where {op!r} was expected")
    return message


def sealed_length(message: dict[str, Any]) -> int:
    """The `bytes` of a `sealed` message."""
    return _int(message.get("bytes"), 1, 1 << 20, "bytes")


def hello(models: dict[str, list[bytes]], pair: str | None = None) -> dict[str, Any]:
    """What a worker adds to HELLO; `pair` is the cloud's to say."""
    known = {"models": {name: [h.hex() for h in hashes] for name, hashes in models.items()}}
    return known if pair is None else {**known, "pair": check_pair(pair)}


def models_of(peer: dict[str, Any]) -> dict[str, set[bytes]]:
    """Model name -> plan hashes in the peer's HELLO; `WireError` where malformed."""
    models = peer.get("models")
    if not isinstance(models, dict):
        raise WireError("HELLO carries no models")
    out: dict[str, set[bytes]] = {}
    for name, hashes in models.items():
        if not isinstance(hashes, list):
            raise WireError("HELLO: the plan hashes of a model are a list")
        out[keys.check_model(name)] = {_hex(h, 32, "plan hash") for h in hashes}
    return out


def pair_of(peer: dict[str, Any]) -> str:
    """The worker pair in the cloud's HELLO; `WireError` where malformed."""
    return check_pair(_text(peer.get("pair"), "pair"))


def check_pair(pair: str) -> str:
    """`pair` itself if it is a pair name."""
    if not _PAIR.fullmatch(pair):
        raise WireError(f"pair name {pair[:40]!r}: 1 to 32 characters of a-z, 0-9 and -")
    return pair
