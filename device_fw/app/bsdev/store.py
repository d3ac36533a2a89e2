"""What survives a reboot, a deep sleep or a power cut: the boot counter, progress, and every picture not yet
answered.

Each file is written beside its name and renamed, so that it is there whole or not at all. A picture is its
record `<id>.js`; pixels (`<id>.px`) come before the record and go after it, so a record never lacks its
pixels, and seed and pixels are never parted: resending gives the same bytes. After the receipt the record
keeps only the result key. Flash holds seeds and keys in the clear: use the board's flash encryption where
somebody may take the board.
"""

import json
import os

from bsdev.settings import ConfigError


def _exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass


def write_atomic(path, data):
    """Write bytes or text beside `path` and rename: readers see the old contents or the new, never a part."""
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.rename(path + ".new", path)


def _load(path):
    """The JSON object in `path`, or None when missing or cut short."""
    try:
        with open(path) as f:
            value = json.load(f)
        return value if isinstance(value, dict) else None
    except (OSError, ValueError):
        return None


class Picture:
    """One picture until it is answered.

    id: 32 hex digits; frame: its number on this device; seed: 32 bytes until the receipt; pixels: file name;
    tries: times it was sent under an earlier id; hash: manifest hash and key: result key once the manifest
    exists.
    """

    def __init__(self, image, frame, seed, pixels, tries=0):
        self.id = image
        self.frame = frame
        self.seed = seed
        self.pixels = pixels
        self.tries = tries
        self.hash = None
        self.key = None
        self.accepted = False
        self.held = None  # (file, bytes of blocks, bytes of manifest and salt, polys_per_block) of hold.py
        self.sends = 0  # since boot; sets the next wait
        self.due = 0  # ticks_ms of the next send or reminder

    def record(self):
        out = {"id": self.id, "frame": self.frame, "tries": self.tries, "accepted": self.accepted}
        if not self.accepted:
            out["seed"] = self.seed.hex()
            out["pixels"] = self.pixels
        if self.hash:
            out["hash"] = self.hash.hex()
            out["key"] = self.key.hex()
        return json.dumps(out)


def _picture(record):
    seed = record.get("seed")
    pic = Picture(
        record["id"], record["frame"], seed and bytes.fromhex(seed), record.get("pixels"), record["tries"]
    )
    pic.accepted = record["accepted"]
    if "hash" in record:
        pic.hash = bytes.fromhex(record["hash"])
        pic.key = bytes.fromhex(record["key"])
    return pic


class Store:
    """Opens the device directory, counts this boot (durably, before anything uses the number), loads the
    pictures."""

    def __init__(self, directory):
        self._dir = directory + "/pictures"
        self._state_path = directory + "/state.json"
        if not _exists(self._dir):
            os.mkdir(self._dir)
        self._recover(directory)
        self._recover(self._dir)
        self.boot = self._count_boot(directory)
        state = _load(self._state_path) or {}
        self.frames = self._saved = state.get("frames", 0)
        self.interval = state.get("interval")
        self.pictures = {}
        self.hold = None
        self._litter = True
        for name in os.listdir(self._dir):
            if name.endswith(".js"):
                try:
                    pic = _picture(_load(self._dir + "/" + name) or {})
                except (KeyError, TypeError, ValueError):
                    continue  # not ours, or damaged: swept away
                self.pictures[pic.id] = pic
        for pic in self.pictures.values():
            self.frames = max(self.frames, pic.frame + 1)
        self.sweep()

    def _recover(self, directory):
        """Finish or drop interrupted renames (FAT removes the old file before it renames)."""
        for name in os.listdir(directory):
            if name.endswith(".new"):
                path = directory + "/" + name[:-4]
                if not _exists(path) and not name.endswith((".px.new", ".mf.new")) and _load(path + ".new"):
                    os.rename(path + ".new", path)
                else:
                    _remove(path + ".new")

    def _count_boot(self, directory):
        """Two slots in turn, so that a damaged one never sends the counter back."""
        slots = [directory + "/boot.0", directory + "/boot.1"]
        seen = [_load(path) for path in slots]
        if not any(seen) and (any(_exists(path) for path in slots) or os.listdir(self._dir)):
            raise ConfigError("the boot counter is damaged: provision the device with a new epoch")
        boot = 1 + max(record["boot"] if record else 0 for record in seen)
        write_atomic(slots[boot & 1], json.dumps({"boot": boot}))
        return boot

    def _path(self, name):
        return self._dir + "/" + name

    def attach(self, hold):
        """Pictures that wait in `hold` come after these. One whose receipt was recorded just before the power
        went is removed there."""
        self.hold = hold
        self.frames = max(self.frames, hold.frames)
        if hold.count:
            first = hold.head()
            if first.id in self.pictures:
                self._release(first)

    def admit(self):
        """The first held picture becomes one that waits for its receipt."""
        pic = self.hold.head()
        self.pictures[pic.id] = pic

    def _save_state(self):
        self._saved = self.frames
        write_atomic(self._state_path, json.dumps({"frames": self.frames, "interval": self.interval}))

    def set_interval(self, seconds):
        self.interval = seconds
        self._save_state()

    def save(self, pic):
        """Make the record durable."""
        write_atomic(self._path(pic.id + ".js"), pic.record())
        self.pictures[pic.id] = pic

    def add(self, image, seed, fill):
        """A new picture: fill(write) writes its pixels; returns the Picture once all of it is durable."""
        name = image + ".px"
        with open(self._path(name + ".new"), "wb") as f:
            fill(f.write)
        os.rename(self._path(name + ".new"), self._path(name))
        pic = Picture(image, self.frames, seed, name)
        self.save(pic)
        self.frames += 1
        self._save_state()
        return pic

    def renew(self, pic, image, seed):
        """The same pixels under a new id and a new seed (after a failure)."""
        new = Picture(image, pic.frame, seed, pic.pixels, pic.tries + 1)
        self.save(new)
        self.drop(pic)
        return new

    def open_pixels(self, pic):
        return open(self._path(pic.pixels), "rb")

    def write_manifest(self, pic, parts):
        """Keep manifest || salt, which go out again as they are."""
        path = self._path(pic.id + ".mf")
        with open(path + ".new", "wb") as f:
            for part in parts:
                f.write(part)
        os.rename(path + ".new", path)

    def open_manifest(self, pic):
        return open(self._path(pic.id + ".mf"), "rb")

    def accept(self, pic):
        """The receipt is here: seed and pixels (or the held ciphertext) go, the result key stays."""
        if pic.held:
            self.hold.keep_manifest(pic, self)
        pic.accepted = True
        pic.seed = None
        self.save(pic)
        self._release(pic)
        self._litter = True

    def _release(self, pic):
        """A held picture's file goes; its frame number is not used again."""
        if pic.held:
            if self.frames > self._saved:
                self._save_state()
            self.hold.release(pic)

    def _forget(self, pic):
        self._release(pic)
        _remove(self._path(pic.id + ".js"))
        self.pictures.pop(pic.id, None)
        self._litter = True

    def drop(self, pic):
        """Answered or given up: nothing of it stays."""
        pic.accepted = True  # a sending under way stops at its next block
        self._forget(pic)

    def sweep(self):
        """Remove pixels and manifests that no record needs. Not while a file of a picture is open."""
        if not self._litter:
            return
        self._litter = False
        keep = set()
        for pic in self.pictures.values():
            keep.add(pic.id + ".js")
            keep.add(pic.id + ".mf")
            if not pic.accepted:
                keep.add(pic.pixels)
        for name in os.listdir(self._dir):
            if name not in keep:
                _remove(self._path(name))

    def waiting(self):
        """Pictures without a receipt, oldest first."""
        found = [pic for pic in self.pictures.values() if not pic.accepted]
        found.sort(key=lambda pic: pic.frame)
        return found
