"""MQTT topics (docs/wire.md section 5): built in one place, parsed in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blindsight.wire import keys
from blindsight.wire.errors import WireError

ROOT = "bs1"
SHARDS = "0123456789abcdef"

_IMAGE = re.compile(r"[0-9a-f]{32}")
_BLOCK = re.compile(r"0|[1-9][0-9]{0,4}")


@dataclass(frozen=True)
class Block:
    """`up/<image>/<block>`."""

    device: str
    image: bytes
    block: int


@dataclass(frozen=True)
class ManifestTopic:
    """`up/<image>/manifest`."""

    device: str
    image: bytes


@dataclass(frozen=True)
class Status:
    """`status`."""

    device: str


def parse(topic: str) -> Block | ManifestTopic | Status:
    """What a message under `topic` is; `WireError` for anything the cloud does not read."""
    parts = topic.split("/")
    if len(parts) < 4 or parts[0] != ROOT:
        raise WireError(f"topic {topic[:120]!r} is not one of ours")
    device = keys.check_device(parts[2])
    if parts[1] != keys.shard(device):
        raise WireError(f"topic {topic[:120]!r}: device {device} belongs to shard {keys.shard(device)}")
    rest = parts[3:]
    if rest == ["status"]:
        return Status(device)
    if len(rest) == 3 and rest[0] == "up" and _IMAGE.fullmatch(rest[1]):
        image = bytes.fromhex(rest[1])
        if rest[2] == "manifest":
            return ManifestTopic(device, image)
        if _BLOCK.fullmatch(rest[2]) and int(rest[2]) < 65535:
            return Block(device, image, int(rest[2]))
    raise WireError(f"topic {topic[:120]!r} is not one of ours")


def base(device: str) -> str:
    """`bs1/<shard>/<device>`."""
    return f"{ROOT}/{keys.shard(device)}/{device}"


def block(device: str, image: bytes, number: int) -> str:
    """Where a device publishes block `number`."""
    return f"{base(device)}/up/{image.hex()}/{number}"


def manifest(device: str, image: bytes) -> str:
    """Where a device publishes manifest || salt."""
    return f"{base(device)}/up/{image.hex()}/manifest"


def down(device: str, image: bytes) -> str:
    """Where receipt, result and failure go."""
    return f"{base(device)}/down/{image.hex()}"


def status(device: str) -> str:
    """Where a device tells its state (retained)."""
    return f"{base(device)}/status"


def subscriptions(shards: str = SHARDS) -> list[str]:
    """The filters one ingress process subscribes to, for its shards (hex digits)."""
    if not shards or any(s not in SHARDS for s in shards):
        raise WireError(f"shards {shards!r}: hex digits of {SHARDS}")
    names = ["+"] if set(shards) == set(SHARDS) else sorted(set(shards))
    return [f"{ROOT}/{s}/+/{rest}" for s in names for rest in ("up/+/+", "status")]
