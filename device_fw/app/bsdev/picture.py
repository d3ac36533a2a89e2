"""Sending one picture: blocks streamed polynomial by polynomial, then the manifest (docs/wire.md, sections 3
to 5).

No block is ever in RAM whole: each piece goes to the socket and into the running hashes, and is gone. The
first sending makes the manifest and keeps it; a later one encrypts the blocks again from seed and pixels, to
the same bytes, and sends the kept manifest. A connection lost halfway through the first sending continues at
the block that was open.
"""

import gc
import hashlib
import struct

from bsdev.encrypt import Layout, cipher
from bsdev.keys import SALT, Stream, hmac, image_key, sha256, str8
from bsdev.settings import AES, MODES


class Sender:
    """Owns the cipher and every large buffer; make it first, while the heap is whole.

    cfg: Settings; keys: Keys. `feed`, set later, is called after each polynomial (watchdog).
    """

    def __init__(self, cfg, keys):
        self.cfg = cfg
        self.keys = keys
        self.stream = stream = Stream()
        self.feed = lambda: None
        mode = MODES[cfg.mode]
        self.layout = layout = Layout(mode, cfg.pixels, cfg.polys_per_block)
        self.cipher, self.core = cipher(layout, stream, cfg, keys)
        self.pixels = memoryview(self.cipher.pixels)
        self._commitments = bytearray(32 * layout.blocks)
        self.c1 = bytearray(32 * layout.blocks if mode != AES else 0)
        self._chunk = memoryview(bytearray(512))
        self.image = None  # whose hashes the two arrays hold, and up to which block
        self._next = 0
        self.heap_peak = 0

    def _topic(self, prefix, pic):
        return prefix + "/up/" + pic.id + "/"

    def _block(self, j, pic, salt, link, prefix, pixels):
        layout = self.layout
        commitment = hashlib.sha256(salt)
        commitment.update(struct.pack("<H", j))
        c1 = hashlib.sha256()
        link.begin(self._topic(prefix, pic) + str(j), layout.block_bytes(j))
        for k in layout.block_polys(j):
            n = layout.pixels_in(k)
            if n and pixels.readinto(self.pixels[:n]) != n:
                raise OSError("cannot read the stored pixels of " + pic.id)
            for part in (0, 1):
                data = self.cipher.second(k) if part else self.cipher.first(k)
                commitment.update(data)
                if not part:
                    c1.update(data)
                link.write(data)
            self.heap_peak = max(self.heap_peak, gc.mem_alloc())
            self.feed()
        link.end()
        self.note(j, commitment.digest(), c1.digest())

    def note(self, j, commitment, c1):
        """What the manifest says of block j."""
        self._commitments[32 * j : 32 * j + 32] = commitment
        if self.c1:
            self.c1[32 * j : 32 * j + 32] = c1

    def stream_salt(self, seed, purpose):
        """Begin a picture that is kept encrypted (hold.py): its salt. A first sending under way begins again."""
        self.image = None
        self.cipher.begin(seed)
        return self.stream.reset(seed, purpose).take(32)

    def make_manifest(self, pic, salt, store):
        """Write manifest || salt; the record gets the manifest hash and the result key."""
        cfg = self.cfg
        height, width, channels = cfg.shape
        image = bytes.fromhex(pic.id)
        head = b"BSM\x01" + bytes((self.layout.mode, 0 if channels == 1 else 1)) + str8(cfg.device) + image
        head += str8(cfg.model) + cfg.plan_hash + self.keys.key_id
        head += struct.pack("<HHBBH", height, width, channels, cfg.polys_per_block, self.layout.blocks)
        head += self.cipher.nonce
        mac = hmac(self.keys.manifest, head, self._commitments, self.c1)
        store.write_manifest(pic, (head, self._commitments, self.c1, mac, salt))
        pic.hash = sha256(head, self._commitments, self.c1, mac)
        pic.key = image_key(self.cipher.result_base(pic.seed), cfg.device, image, pic.hash)
        store.save(pic)

    def send(self, pic, link, prefix, store):
        """Publish an unreceipted picture; returns the payload bytes of this call. Errors leave it to be sent
        again."""
        if pic.held:
            return self._send_held(pic, link, prefix)
        self.cipher.begin(pic.seed)
        salt = self.stream.reset(pic.seed, SALT).take(32)
        if pic.hash or self.image != pic.id:
            self.image, self._next = pic.id, 0
        sent = 0
        with store.open_pixels(pic) as pixels:
            if pixels.seek(0, 2) != self.layout.pixels:
                raise ValueError("the picture was taken for another shape than the settings have now")
            pixels.seek(min(self._next * self.layout.per_block * 1024, self.layout.pixels))
            while self._next < self.layout.blocks:
                self._block(self._next, pic, salt, link, prefix, pixels)
                sent += self.layout.block_bytes(self._next)
                self._next += 1
                gc.collect()
                if pic.accepted:
                    return None
        if not pic.hash:
            self.make_manifest(pic, salt, store)
        self.image = None
        return sent + self.send_manifest(pic, link, prefix, store)

    def _send_held(self, pic, link, prefix):
        """The same from flash, as it was encrypted; the manifest last."""
        path, blocks, manifest, per = pic.held
        layout = self.layout
        if per != layout.per_block or blocks != sum(layout.block_bytes(j) for j in range(layout.blocks)):
            raise ValueError("the picture was taken for other settings than there are now")
        with open(path, "rb") as f:
            for j in range(layout.blocks + 1):
                last = j == layout.blocks
                left = manifest if last else layout.block_bytes(j)
                link.begin(self._topic(prefix, pic) + ("manifest" if last else str(j)), left)
                while left:
                    n = f.readinto(self._chunk[: min(left, 512)])
                    if not n:
                        raise OSError("cannot read the held picture " + pic.id)
                    link.write(self._chunk[:n])
                    left -= n
                link.end()
                self.feed()
                if pic.accepted:
                    return None
        return blocks + manifest

    def send_manifest(self, pic, link, prefix, store):
        """Publish the kept manifest || salt: the end of a sending, and the reminder when an answer is
        overdue."""
        with store.open_manifest(pic) as f:
            size = f.seek(0, 2)
            f.seek(0)
            link.begin(self._topic(prefix, pic) + "manifest", size)
            while True:
                n = f.readinto(self._chunk)
                if not n:
                    break
                link.write(self._chunk[:n])
        link.end()
        return size
