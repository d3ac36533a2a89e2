"""What the running program keeps of its configuration. config.py, which reads and checks it, is unloaded
after."""

import hashlib

RLWE, RLWE_SK, AES = 0, 1, 2
MODES = {"rlwe": RLWE, "rlwe-sk": RLWE_SK, "aes": AES}
REVEAL = {"top1": 0, "topk": 1, "logits": 2, "probabilities": 3}


class ConfigError(ValueError):
    """A line that names the setting or file and what it must be."""


class Settings:
    """config.json as attributes of the same names (plan_hash as bytes), plus `dir`, `shape`, `pixels` and `hold`
    (is there a hold, or one to be emptied?)."""

    def __init__(self, directory, values):
        self.dir = directory
        for name in values:
            setattr(self, name, values[name])

    def path(self, name):
        """A file of the device directory (absolute names stay as they are)."""
        return name if name.startswith("/") else self.dir + "/" + name

    def read(self, name, size=0):
        """A key or certificate file, whole, at most 6 KiB; ConfigError when missing or of another size."""
        try:
            with open(self.path(name), "rb") as f:
                data = f.read(size + 1 if size else 6145)
        except OSError:
            raise ConfigError(self.path(name) + " is missing: provision the device")
        if size and len(data) != size:
            raise ConfigError(
                self.path(name) + " must hold " + str(size) + " bytes: provision the device again"
            )
        if len(data) == 6145:
            raise ConfigError(self.path(name) + " is over 6 KiB: keep only the certificates that are needed")
        return data

    def shard(self):
        return "%x" % (hashlib.sha256(self.device.encode()).digest()[0] >> 4)


class Keys:
    """Keys derived from secret.bin, each for one purpose: `manifest`; `shared` (AES key or seed of s) and
    `base` (of result keys), None in `rlwe`; `key_id`.
    """

    def __init__(self, manifest, shared, base, key_id):
        self.manifest = manifest
        self.shared = shared
        self.base = base
        self.key_id = key_id
