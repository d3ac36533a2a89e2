"""A bounded queue of encrypted pictures on flash, for while the broker is out of reach.

A picture is encrypted as it is taken, polynomial by polynomial: neither its pixels nor its seed touch the
flash, only ciphertext, the manifest and the key that opens the answer. Adversary: whoever takes the board; in
`rlwe` mode nothing on flash decrypts a held picture (in `rlwe-sk` and `aes` secret.bin does). The seed dies
with the encryption, so what is held goes out as it is, and one that the servers refuse cannot be sent anew.

One picture is one file, `held/<frame>-<image id>.q`: blocks || manifest || salt || record (JSON) || u16 length
of the record || `BSQ1`, written beside its name and renamed: the rename is the commit. It is removed when the
receipt's record is durable. So a power cut at any point leaves it whole or not at all, and at worst it is sent
again, same bytes. Wear: a file is written once from front to back and removed once; nothing else is written
while the device is offline.
"""

import hashlib
import json
import os
import struct

from bsdev.keys import SALT
from bsdev.store import Picture

MAGIC = b"BSQ1"
MOST = 128  # files: a directory listing has to fit the heap
SPARE = 32768  # bytes of flash left for records and manifests: without them no receipt could be kept
FULL = 28  # ENOSPC, which not every port's errno names


class _Writer:
    """What Sender.make_manifest writes to."""

    def __init__(self, f):
        self.f = f
        self.size = 0

    def write_manifest(self, pic, parts):
        for part in parts:
            self.f.write(part)
            self.size += len(part)

    def save(self, pic):
        pass  # the record is the end of the file


class _Blocks:
    """Pixels in, ciphertext out; `sender`'s cipher, buffers and running hashes."""

    def __init__(self, sender, salt, out):
        self.s = sender
        self.salt = salt
        self.out = out
        self.k = 0  # the polynomial under way
        self._at = 0
        self.size = 0
        self._commitment = self._c1 = None

    def write(self, row):
        """Pixel bytes, any number of them."""
        view = memoryview(row)
        while len(view):
            room = self.s.layout.pixels_in(self.k) - self._at
            n = min(len(view), room)
            self.s.pixels[self._at : self._at + n] = view[:n]
            self._at += n
            view = view[n:]
            if n == room:
                self._poly()

    def finish(self):
        """What carries no pixel (the result key's own polynomial)."""
        if self._at:
            raise OSError("the camera gave a short picture")
        while self.k < self.s.layout.polys:
            self._poly()

    def _poly(self):
        s, k = self.s, self.k
        j = k // s.layout.per_block
        if k % s.layout.per_block == 0:
            self._commitment = hashlib.sha256(self.salt)
            self._commitment.update(struct.pack("<H", j))
            self._c1 = hashlib.sha256()
        for part in (0, 1):
            data = s.cipher.second(k) if part else s.cipher.first(k)
            self._commitment.update(data)
            if not part:
                self._c1.update(data)
            self.out.write(data)
            self.size += len(data)
        self.k += 1
        self._at = 0
        if self.k % s.layout.per_block == 0 or self.k == s.layout.polys:
            s.note(j, self._commitment.digest(), self._c1.digest())
        s.feed()


class Hold:
    """The queue in the device directory: at most `limit` bytes; `drop` says which picture goes when it is
    full, the `oldest` or the `newest`; with a limit of 0 nothing is taken, and the directory goes with the last
    that an earlier limit let in. `count` and `size`: what is held."""

    def __init__(self, directory, limit, drop):
        self._dir = directory + "/held"
        self.limit = limit
        self.drop = drop
        self.count = self.size = self.dropped = 0
        self.frames = 0  # frame numbers below this are in use
        try:
            os.mkdir(self._dir)
        except OSError:
            pass  # it is there
        for name in os.listdir(self._dir):
            try:
                pic = None if name.endswith(".new") else self._record(name)
            except ValueError:
                pic = None
            if pic:
                self.count += 1
                self.size += os.stat(self._dir + "/" + name)[6]
                self.frames = max(self.frames, pic.frame + 1)
            else:
                os.remove(self._dir + "/" + name)  # cut short, or not ours

    def _record(self, name):
        """The picture in a file, or ValueError."""
        path = self._dir + "/" + name
        size = os.stat(path)[6]
        with open(path, "rb") as f:
            f.seek(max(0, size - 6))
            tail = f.read(6)
            n = tail[0] | tail[1] << 8 if len(tail) == 6 else 0
            if tail[2:] != MAGIC or not 2 <= n <= size - 6:
                raise ValueError("held")
            f.seek(size - 6 - n)
            record = json.loads(f.read(n))
        try:
            pic = Picture(record["id"], record["frame"], None, None)
            pic.hash = bytes.fromhex(record["hash"])
            pic.key = bytes.fromhex(record["key"])
            pic.held = (path, record["blocks"], record["manifest"], record["per"])
        except (KeyError, TypeError):
            raise ValueError("held")
        if pic.held[1] + pic.held[2] + n + 6 != size:
            raise ValueError("held")
        return pic

    def need(self, layout):
        """Bytes of one picture, at most."""
        blocks = sum(layout.block_bytes(j) for j in range(layout.blocks))
        return blocks + 64 * layout.blocks + 768

    def _full(self, need):
        if self.count >= MOST or self.size + need > self.limit:
            return True
        flash = os.statvfs(self._dir)
        return flash[1] * flash[4] < need + SPARE

    def room(self, layout):
        """May a picture be taken?"""
        return self.drop == "oldest" or not self.count or not self._full(self.need(layout))

    def add(self, image, frame, seed, sender, fill, gone):
        """Encrypt and keep a picture: fill(write) gives its pixels; gone(id) hears of each that gave way, whether
        or not this one could be kept (OSError)."""
        while self.count and self._full(self.need(sender.layout)):
            gone(self._drop_first())
        name = self._dir + "/%08x-%s.q" % (frame, image)
        pic = Picture(image, frame, seed, None)
        try:
            with open(name + ".new", "wb") as f:
                self._write(f, pic, sender, fill)
            os.rename(name + ".new", name)
        except OSError as e:
            try:
                os.remove(name + ".new")
            except OSError:
                pass  # was not even begun
            if e.errno == FULL and self.drop == "oldest" and self.count:
                gone(self._drop_first())
            raise
        self.count += 1
        self.size += os.stat(name)[6]
        self.frames = max(self.frames, frame + 1)

    def _write(self, f, pic, sender, fill):
        salt = sender.stream_salt(pic.seed, SALT)
        blocks = _Blocks(sender, salt, f)
        fill(blocks.write)
        blocks.finish()
        end = _Writer(f)
        sender.make_manifest(pic, salt, end)
        record = {"id": pic.id, "frame": pic.frame, "hash": pic.hash.hex(), "key": pic.key.hex()}
        record["blocks"], record["manifest"] = blocks.size, end.size
        record["per"] = sender.layout.per_block
        text = json.dumps(record).encode()
        f.write(text)
        f.write(struct.pack("<H", len(text)) + MAGIC)
        pic.seed = None

    def _first(self):
        return min(os.listdir(self._dir))

    def _drop_first(self):
        name = self._first()
        self._remove(self._dir + "/" + name)
        self.dropped += 1
        return name[9:41]

    def head(self):
        """The oldest picture; it stays until `release`."""
        return self._record(self._first())

    def keep_manifest(self, pic, store):
        """Copy manifest || salt to the store, for reminders."""
        path, at, size, _ = pic.held
        with open(path, "rb") as f:
            f.seek(at)
            store.write_manifest(pic, (f.read(min(512, size - i)) for i in range(0, size, 512)))

    def release(self, pic):
        """The receipt's record is durable, or the picture is given up."""
        self._remove(pic.held[0])
        pic.held = None
        self.tidy()

    def tidy(self):
        """Leave no directory behind where none is to be."""
        if not self.limit and not self.count:
            try:
                os.rmdir(self._dir)
            except OSError:
                pass  # gone already

    def _remove(self, path):
        try:
            size = os.stat(path)[6]
            os.remove(path)
        except OSError:
            return  # gone already
        self.count -= 1
        self.size -= size


def make(cfg, layout, store):
    """The Hold of the settings, attached to the store; ValueError when it is too small for one picture. With
    `hold_kib` 0 it only sends what is left of an earlier setting."""
    hold = Hold(cfg.dir, cfg.hold_kib * 1024, cfg.hold_drop if cfg.hold_kib else "newest")
    need = hold.need(layout)
    if 0 < hold.limit < need:
        raise ValueError("config.json: hold_kib holds no picture; one takes %d" % (need // 1024 + 1))
    store.attach(hold)
    hold.tidy()
    return hold
