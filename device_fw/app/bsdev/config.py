"""config.json, secret.bin and pk.bin of the device directory, checked once at start.

The directory is the only thing that makes one device differ from another; provisioning writes it, MQTT never does.
"""

import hashlib
import json

from bsdev.encrypt import AES, MODES, RLWE
from bsdev.keys import hkdf, sha256, str8

REVEAL = {"top1": 0, "topk": 1, "logits": 2, "probabilities": 3}
_DEFAULTS = {
    "polys_per_block": 4,
    "reveal": "top1",
    "output_scale_bits": 0,
    "labels": [],
    "interval_s": 0,
    "count": 0,
    "wifi": {},
    "epoch": 0,
    "max_pending": 4,  # unreceipted pictures on flash; further captures wait
    "retry_s": 30,  # first resend without a receipt; doubles to retry_max_s
    "retry_max_s": 600,
    "backoff_s": 1,  # first reconnect delay; doubles to backoff_max_s, jittered
    "backoff_max_s": 60,
    "keepalive_s": 60,
    "timeout_s": 15,  # network silence in the middle of an exchange
    "watchdog_s": 0,
    "sleep": "none",  # "deep": deep sleep between pictures
    "awake_s": 20,  # longest wait for receipt and result before a deep sleep
    "ntp": "pool.ntp.org",
}


class ConfigError(ValueError):
    """A line that names the setting and what it must be."""


def _name(text, extra, limit, what):
    ok = isinstance(text, str) and 0 < len(text) <= limit
    if not ok or any(not ("a" <= c <= "z" or "0" <= c <= "9" or c in extra) for c in text):
        raise ConfigError("config.json: " + what + " is 1 to " + str(limit) + " characters of [a-z0-9" + extra + "]")
    return text


def _number(values, name, low, high):
    value = values[name]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError("config.json: " + name + " is a number from " + str(low) + " to " + str(high))
    return value


class Config:
    """The settings as attributes (names as in config.json), plus `dir`, `shape` and `pixels`."""

    def __init__(self, directory):
        self.dir = directory
        try:
            with open(directory + "/config.json") as f:
                given = json.load(f)
        except OSError:
            raise ConfigError(directory + "/config.json is missing: provision the device") from None
        except ValueError:
            raise ConfigError(directory + "/config.json is not JSON: provision the device again") from None
        values = dict(_DEFAULTS)
        values.update(given)
        for name in ("device", "model", "plan_hash", "mode", "height", "width", "channels", "broker", "camera"):
            if name not in values:
                raise ConfigError("config.json: " + name + " is missing")
        for name in values:
            setattr(self, name, values[name])
        _name(self.device, "-", 32, "device")
        _name(self.model, "._-", 64, "model")
        if self.mode not in MODES:
            raise ConfigError("config.json: mode is one of " + ", ".join(sorted(MODES)))
        if self.reveal not in REVEAL:
            raise ConfigError("config.json: reveal is one of " + ", ".join(sorted(REVEAL)))
        try:
            self.plan_hash = bytes.fromhex(self.plan_hash)
        except (TypeError, ValueError):
            self.plan_hash = b""
        if len(self.plan_hash) != 32:
            raise ConfigError("config.json: plan_hash is 64 hex digits")
        if self.channels not in (1, 3):
            raise ConfigError("config.json: channels is 1 or 3")
        for name, low, high in (
            ("height", 1, 4096), ("width", 1, 4096), ("polys_per_block", 1, 16), ("epoch", 0, 0xFFFFFFFF),
            ("interval_s", 0, 604800), ("count", 0, 1 << 30), ("max_pending", 1, 64), ("retry_s", 0.05, 86400),
            ("retry_max_s", 0.05, 86400), ("backoff_s", 0.01, 3600), ("backoff_max_s", 0.01, 3600),
            ("keepalive_s", 1, 65535), ("timeout_s", 1, 600), ("watchdog_s", 0, 600), ("awake_s", 0, 3600),
            ("output_scale_bits", 0, 31),
        ):
            _number(values, name, low, high)
        broker = self.broker
        if not isinstance(broker, dict) or not broker.get("host") or not 0 < broker.get("port", 0) < 65536:
            raise ConfigError("config.json: broker needs host and port")
        if broker.get("tls") and not broker.get("ca"):
            raise ConfigError("config.json: broker.tls needs broker.ca, the file of the authority to trust")
        if not broker.get("tls") and broker.get("password") and broker["host"] not in ("127.0.0.1", "localhost"):
            raise ConfigError("config.json: a password without broker.tls goes only to this machine")
        self.shape = (self.height, self.width, self.channels)
        self.pixels = self.height * self.width * self.channels
        blocks = (self.pixels // 1024 + 2 + self.polys_per_block) // self.polys_per_block
        if blocks > 256:
            raise ConfigError("config.json: more than 256 blocks a picture; raise polys_per_block")

    def path(self, name):
        """A file of the device directory (absolute names stay as they are)."""
        return name if name.startswith("/") else self.dir + "/" + name

    def read(self, name, size=0):
        """A key file, whole; ConfigError when missing or of another size."""
        try:
            with open(self.path(name), "rb") as f:
                data = f.read(8192)
        except OSError:
            raise ConfigError(self.path(name) + " is missing: provision the device") from None
        if size and len(data) != size:
            raise ConfigError(self.path(name) + " must hold " + str(size) + " bytes: provision the device again")
        return data

    def shard(self):
        return "%x" % (hashlib.sha256(self.device.encode()).digest()[0] >> 4)


class Keys:
    """What the device derives from secret.bin; each key has one purpose."""

    def __init__(self, cfg):
        secret = cfg.read("secret.bin", 32)
        mode = MODES[cfg.mode]
        self.manifest = hkdf(secret, b"blindsight/1 manifest")
        self.public = cfg.read("pk.bin", 3360) if mode == RLWE else None
        self.shared = None if mode == RLWE else hkdf(secret, b"blindsight/1 " + ("aes" if mode == AES else "rlwe-sk").encode())
        self.base = None if mode == RLWE else hkdf(secret, b"blindsight/1 result-base")
        if mode == RLWE:
            self.key_id = sha256(self.public)[:8]
        else:
            epoch = cfg.epoch.to_bytes(4, "little")
            self.key_id = sha256(b"blindsight/1 epoch", str8(cfg.device), epoch)[:8]
