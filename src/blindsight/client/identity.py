"""Who sends: a device directory as `blindsight keys device` writes it.

Holds the device's secrets. Adversary: other users of this computer; files that hold secrets must be readable by
their owner alone, or are refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blindsight.client.errors import ClientError
from blindsight.service.secretfile import SecretError, read_secret, require_private
from blindsight.wire import WireError, keys
from blindsight.wire.blocks import Layout, Mode
from blindsight.wire.result import Reveal

PK_BYTES = 3360
MAX_CONFIG = 1 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Broker:
    """Where a broker is and how to get in: with `ca` (a file) over TLS; by user name and password, or by
    certificate and key (files).
    """

    host: str
    port: int = 1883
    ca: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if not self.host or not 0 < self.port < 65536:
            raise ClientError("the broker needs a host and a port of 1 to 65535")
        if self.ca is None and self.host.lower() not in LOOPBACK:
            raise ClientError(f"broker {self.host} is not this machine: it needs TLS (`ca`, a file)")
        if (self.certificate is None) != (self.key is None):
            raise ClientError("a client certificate needs `certificate` and `key`, both files")
        if self.certificate is not None and self.ca is None:
            raise ClientError("a client certificate goes with TLS: name the authority too (`ca`)")

    @classmethod
    def read(cls, given: dict[str, Any], folder: Path) -> Broker:
        """The broker of a config.json; file names are relative to `folder`."""
        if not isinstance(given, dict):
            raise ClientError("config.json: broker is an object with host and port")
        known = {"host", "port", "tls", "ca", "user", "password", "certificate", "key", "server_name"}
        if unknown := set(given) - known:
            raise ClientError(f"config.json: broker.{sorted(unknown)[0]} is unknown")
        host, port = given.get("host"), given.get("port", 1883)
        if not isinstance(host, str) or type(port) is not int:
            raise ClientError("config.json: broker.host is text, broker.port a number")
        for name in known - {"host", "port", "tls"}:
            if not isinstance(given.get(name), str | None):
                raise ClientError(f"config.json: broker.{name} is text")
        if given.get("tls") and not given.get("ca"):
            raise ClientError("config.json: broker.tls needs broker.ca, the file of the authority to trust")
        files = {k: folder / given[k] if given.get(k) else None for k in ("ca", "certificate", "key")}
        return cls(
            host, port, files["ca"] if given.get("tls", True) else None, given.get("user"), given.get("password"),
            files["certificate"], files["key"], given.get("server_name"),
        )  # fmt: skip

    def at(self, host: str, port: int) -> Broker:
        """The same account at another address."""
        return replace(self, host=host, port=port)


@dataclass(frozen=True)
class Identity:
    """What provisioning gave a sender, and the shape of its model's picture (height, width, channels)."""

    device: str
    secret: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    epoch: int
    mode: Mode
    model: str
    plan_hash: bytes
    shape: tuple[int, int, int]
    per_block: int = 4
    labels: tuple[str, ...] = ()
    reveal: Reveal = Reveal.TOP1
    output_scale_bits: int = 0

    @property
    def pixels(self) -> int:
        """Bytes of a picture."""
        height, width, channels = self.shape
        return height * width * channels


def load(folder: Path) -> tuple[Identity, Broker]:
    """Reads config.json, secret.bin and (mode `rlwe`) pk.bin of a device directory; `ClientError` says what to
    mend.
    """
    path = folder / "config.json"
    try:
        require_private(path)
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG + 1)
        secret = read_secret(folder / "secret.bin", keys.KEY_BYTES)
    except SecretError as error:
        raise ClientError(str(error)) from None
    except OSError as error:
        raise ClientError(
            f"{path}: {error.strerror}; `blindsight keys device NAME` writes a directory"
        ) from None
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or len(raw) > MAX_CONFIG:
        raise ClientError(f"{path} is not a JSON object: provision the device again")
    return _identity(given, secret, folder), Broker.read(given.get("broker", {}), folder)


def _text(given: dict[str, Any], name: str) -> str:
    if isinstance(given.get(name), str):
        return str(given[name])
    raise ClientError(f"config.json: {name} is missing or not text")


def _number(given: dict[str, Any], name: str, low: int, high: int, default: int | None = None) -> int:
    value = given.get(name, default)
    if type(value) is int and low <= value <= high:
        return value
    raise ClientError(f"config.json: {name} is a whole number from {low} to {high}")


def _identity(given: dict[str, Any], secret: bytes, folder: Path) -> Identity:
    try:
        mode, reveal = Mode.named(_text(given, "mode")), Reveal.named(str(given.get("reveal", "top1")))
        device, model = keys.check_device(_text(given, "device")), keys.check_model(_text(given, "model"))
        plan_hash = bytes.fromhex(_text(given, "plan_hash"))
    except ValueError as error:
        raise ClientError(f"config.json: {error}") from None
    if len(plan_hash) != 32:
        raise ClientError("config.json: plan_hash is 64 hex digits")
    labels = given.get("labels", [])
    if not isinstance(labels, list) or any(not isinstance(label, str) for label in labels):
        raise ClientError("config.json: labels is a list of names")
    shape = (
        _number(given, "height", 1, 4096),
        _number(given, "width", 1, 4096),
        _number(given, "channels", 1, 3),
    )
    if shape[2] == 2:
        raise ClientError("config.json: channels is 1 or 3")
    per_block = _number(given, "polys_per_block", 1, 16, 4)
    public = b""
    if mode is Mode.RLWE:
        try:
            public = (folder / "pk.bin").read_bytes()
        except OSError as error:
            raise ClientError(f"{folder / 'pk.bin'}: {error.strerror}: provision the device again") from None
        if len(public) != PK_BYTES:
            raise ClientError(f"{folder / 'pk.bin'} must hold {PK_BYTES} bytes: provision the device again")
    identity = Identity(
        device, secret, public, _number(given, "epoch", 0, 2**32 - 1, 0), mode, model, plan_hash, shape, per_block,
        tuple(labels), reveal, _number(given, "output_scale_bits", 0, 31, 0),
    )  # fmt: skip
    try:
        Layout(mode, identity.pixels, per_block)
    except WireError as error:
        raise ClientError(f"config.json: {error}") from None
    return identity
