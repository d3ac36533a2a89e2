"""Reads and checks config.json, secret.bin and pk.bin of the device directory, once at start; then it is
unloaded.

The directory is the only thing that makes one device differ from another; provisioning writes it, MQTT never
does.
"""

import os

from bsdev import labels
from bsdev.keys import hkdf, sha256, str8
from bsdev.settings import AES, MODES, REVEAL, RLWE, ConfigError, Keys, Settings

_DEFAULTS = {
    "polys_per_block": 4,
    "reveal": "top1",
    "output_scale_bits": 0,
    "labels": [],
    "interval_s": 0,
    "count": 0,
    "wifi": {},
    "home": {},  # telemetry for Home Assistant, answers on a broker of the owner's own (home.py)
    "epoch": 0,
    "max_pending": 4,  # unreceipted pictures on flash; further captures wait
    "max_open": 16,  # pictures without an answer, in all
    "hold_kib": 0,  # flash for encrypted pictures while the broker is out of reach; 0: none
    "hold_drop": "oldest",  # or "newest": which goes when that is full
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


def _name(text, extra, limit, what):
    ok = isinstance(text, str) and 0 < len(text) <= limit
    if not ok or any(not ("a" <= c <= "z" or "0" <= c <= "9" or c in extra) for c in text):
        raise ConfigError(
            "config.json: " + what + " is 1 to " + str(limit) + " characters of [a-z0-9" + extra + "]"
        )
    return text


def _number(values, name, low, high):
    value = values[name]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError("config.json: " + name + " is a number from " + str(low) + " to " + str(high))
    return value


def _broker(cfg, broker, name):
    port = broker.get("port") if isinstance(broker, dict) and isinstance(broker.get("host"), str) else None
    if not isinstance(port, int) or not broker["host"] or not 0 < port < 65536:
        raise ConfigError("config.json: " + name + " needs host and port")
    if broker.get("tls") and not broker.get("ca"):
        raise ConfigError("config.json: " + name + ".tls needs " + name + ".ca, the file of the authority to trust")
    if bool(broker.get("certificate")) != bool(broker.get("key")):
        raise ConfigError("config.json: " + name + ".certificate and " + name + ".key belong together")
    if broker.get("tls"):
        from bsdev import pem

        for file in ("ca", "certificate", "key"):
            if broker.get(file):
                pem.load(cfg, broker, file)
    if not broker.get("tls") and broker.get("password") and broker["host"] not in ("127.0.0.1", "localhost"):
        raise ConfigError("config.json: a password without " + name + ".tls goes only to this machine")


def _host(broker):
    host = broker["host"].lower()
    while host.endswith("."):
        host = host[:-1]
    return "localhost" if host.startswith("127.") or host == "::1" else host


def _home(cfg):
    home = cfg.home
    if not isinstance(home, dict):
        raise ConfigError("config.json: home is an object")
    for name in home:
        if name not in ("discovery", "prefix", "every_s", "energy_mj", "result", "broker"):
            raise ConfigError("config.json: home." + name + " is unknown")
    second = home.get("broker")
    if second is not None:
        _broker(cfg, second, "home.broker")
        same = _host(second) == _host(cfg.broker)
        if same and (second["port"] == cfg.broker["port"] or _host(second) != "localhost"):
            raise ConfigError(
                "config.json: home.broker is the cloud's broker: it would learn the answers; name one that you run"
            )
    elif home.get("result"):
        raise ConfigError(
            "config.json: home.result needs home.broker, one that you run: the cloud's would learn the answers"
        )
    if home:
        numbers = {"home.every_s": home.get("every_s", 60), "home.energy_mj": home.get("energy_mj", 0)}
        home["every_s"] = max(10, _number(numbers, "home.every_s", 0, 432000))  # the range of ticks_ms
        _number(numbers, "home.energy_mj", 0, 1 << 30)


def load(directory):
    """The Settings of a device directory; ConfigError says what to mend."""
    try:
        given = labels.load(directory + "/config.json")
    except OSError:
        raise ConfigError(directory + "/config.json is missing: provision the device")
    except ValueError:
        raise ConfigError(directory + "/config.json is not JSON: provision the device again")
    values = dict(_DEFAULTS)
    values.update(given)
    for name in ("device", "model", "plan_hash", "mode", "height", "width", "channels", "broker", "camera"):
        if name not in values:
            raise ConfigError("config.json: " + name + " is missing")
    cfg = Settings(directory, values)
    _name(cfg.device, "-", 32, "device")
    if cfg.device == "fleet":
        raise ConfigError("config.json: the device id fleet is reserved")
    _name(cfg.model, "._-", 64, "model")
    if cfg.mode not in MODES:
        raise ConfigError("config.json: mode is one of " + ", ".join(sorted(MODES)))
    if cfg.reveal not in REVEAL:
        raise ConfigError("config.json: reveal is one of " + ", ".join(sorted(REVEAL)))
    try:
        cfg.plan_hash = bytes.fromhex(cfg.plan_hash)
    except (TypeError, ValueError):
        cfg.plan_hash = b""
    if len(cfg.plan_hash) != 32:
        raise ConfigError("config.json: plan_hash is 64 hex digits")
    if cfg.channels not in (1, 3):
        raise ConfigError("config.json: channels is 1 or 3")
    for name, low, high in (
        ("height", 1, 4096),
        ("width", 1, 4096),
        ("polys_per_block", 1, 16),
        ("epoch", 0, 0xFFFFFFFF),
        ("interval_s", 0, 432000),
        ("count", 0, 1 << 30),
        ("max_pending", 1, 64),
        ("max_open", 1, 64),
        ("hold_kib", 0, 1 << 20),
        ("retry_s", 0.05, 86400),
        ("retry_max_s", 0.05, 86400),
        ("backoff_s", 0.01, 3600),
        ("backoff_max_s", 0.01, 3600),
        ("keepalive_s", 1, 65535),
        ("timeout_s", 1, 600),
        ("watchdog_s", 0, 600),
        ("awake_s", 0, 3600),
        ("output_scale_bits", 0, 31),
    ):
        _number(values, name, low, high)
    _broker(cfg, cfg.broker, "broker")
    _home(cfg)
    if cfg.hold_drop not in ("oldest", "newest"):
        raise ConfigError('config.json: hold_drop is "oldest" or "newest"')
    try:
        cfg.hold = bool(os.stat(directory + "/held"))  # what an earlier hold_kib left is still to be sent
    except OSError:
        cfg.hold = cfg.hold_kib > 0
    cfg.shape = (cfg.height, cfg.width, cfg.channels)
    cfg.pixels = cfg.height * cfg.width * cfg.channels
    blocks = (cfg.pixels // 1024 + 2 + cfg.polys_per_block) // cfg.polys_per_block
    if blocks > 256:
        raise ConfigError("config.json: more than 256 blocks a picture; raise polys_per_block")
    return cfg


def derive(cfg):
    """The Keys of this device."""
    secret = cfg.read("secret.bin", 32)
    mode = MODES[cfg.mode]
    manifest = hkdf(secret, b"blindsight/1 manifest")
    if mode == RLWE:
        return Keys(manifest, None, None, sha256(cfg.read("pk.bin", 3360))[:8])
    shared = hkdf(secret, b"blindsight/1 aes")[:16] if mode == AES else hkdf(secret, b"blindsight/1 rlwe-sk")
    epoch = sha256(b"blindsight/1 epoch", str8(cfg.device), cfg.epoch.to_bytes(4, "little"))
    return Keys(manifest, shared, hkdf(secret, b"blindsight/1 result-base"), epoch[:8])
