"""Taking pictures and sending them: what the device's loop (device.py) calls when something is due.

In two files because compiling one takes five times its size from the heap.
"""

import gc
import time

from bsdev.store import Store
from bsdev.frame import Resizer
from bsdev import camera
from bsdev.clock import after, event, left, patience
from bsdev.keys import Drbg, Stream


class Capture:
    """Camera, store and (where `hold_kib` is set) hold of a device, cfg: Settings; sender: its Sender;
    radio_on: see Drbg. The device adds `link`, `prefix`, `inbox` and `interval`.
    """

    def __init__(self, cfg, sender, feed, radio_on):
        self.cfg = cfg
        self.feed = feed
        self.sender = sender
        sender.feed = feed
        self.camera = camera.make(cfg.camera, cfg.shape, cfg.dir)
        self.resizer = Resizer(self.camera.format, self.camera.size, cfg.shape, cfg.camera.get("crop"))
        self._drbg = Drbg(radio_on, Stream())
        self.store = Store(cfg.dir)
        self.hold = self.home = None
        if cfg.hold:
            from bsdev.hold import make

            self.hold = make(cfg, sender.layout, self.store)
        self._next_capture = time.ticks_ms()
        self.live = 0

    def _new_id(self):
        seed, tail = self._drbg.draw()
        return "%016x" % self.store.boot + tail.hex(), seed

    def _more(self):
        return not self.cfg.count or self.store.frames < self.cfg.count

    def _want_picture(self):
        due = self.inbox.capture or (self._more() and left(self._next_capture) <= 0)
        if due and not self._room():
            if left(self._next_capture) < 0:
                self._next_capture = time.ticks_ms()  # a long wait must not wrap
            return False
        return due

    def _room(self):
        """May another picture be taken? At the limit one whose answer was asked for in vain for long gives
        way."""
        store = self.store
        if self._holds():
            return self.hold.room(self.sender.layout)
        if len(store.waiting()) >= self.cfg.max_pending:
            return False
        if len(store.pictures) < self.cfg.max_open:
            return True
        for pic in list(store.pictures.values()):
            wakes = store.boot - int(pic.id[:16], 16)
            if pic.accepted and pic.sends + wakes // 8 > 12:
                event("failure", image=pic.id, frame=pic.frame, code=0, reason="no answer came", final=True)
                store.drop(pic)
                return True
        return False

    def _holds(self):
        """Does the next picture go to the held ones? Until the last of them is gone, so that order is kept."""
        return self.hold and (self.hold.count or self.cfg.hold_kib and not self.link.connected())

    def _take(self, image, seed):
        """Take a picture into the store, or encrypt it into the hold."""
        store = self.store
        frame = store.frames

        def fill(write):
            self.resizer.run(self._read, write)

        if not self._holds():
            pic = store.add(image, seed, fill)
            pic.due = time.ticks_ms()
            event("captured", image=image, frame=frame)
            return
        self.hold.add(image, frame, seed, self.sender, fill, self._gave_way)
        store.frames += 1
        event("captured", image=image, frame=frame, held=self.hold.count)

    def _gave_way(self, image):
        """A held picture made room; it may be the one that is being sent."""
        pic = self.store.pictures.get(image)
        if pic:
            self.store.drop(pic)
        event("dropped", image=image, reason="no room in hold_kib or on the flash")

    def _read(self, buf, offset):
        self.feed()
        self.camera.read_into(buf, offset)

    def _capture(self):
        self._next_capture = after(self.interval)
        self.inbox.capture = False
        try:
            image, seed = self._new_id()
            try:
                self.camera.capture(self.store.frames)
                self._take(image, seed)
            finally:
                self.camera.release()
        except OSError as e:  # no radio, no frame, no room: the next interval tries again
            self._next_capture = after(max(self.interval, 5))
            event("skipped", reason=str(e))

    def _send(self, pic):
        start = time.ticks_ms()
        try:
            sent = self.sender.send(pic, self.link, self.prefix, self.store)
        except ValueError as e:
            event("failure", image=pic.id, frame=pic.frame, code=0, reason=str(e), final=True)
            self.store.drop(pic)
            return
        if sent is None:  # answered or failed on the way
            return
        patience(self.cfg, pic)
        if self.home:
            self.home.sent += 1
        event(
            "published",
            image=pic.id,
            frame=pic.frame,
            bytes=sent,
            blocks=self.sender.layout.blocks,
            ms=-left(start),
            resend=pic.sends > 1,
        )
        self.heap()

    def _remind(self, pic):
        """Ask for an answer that is overdue: the manifest again; the cloud repeats what it has for it."""
        self.sender.send_manifest(pic, self.link, self.prefix, self.store)
        patience(self.cfg, pic)
        event("reminded", image=pic.id, frame=pic.frame)

    def heap(self):
        """peak: the most allocated at any sample, garbage included; live: the most in use after a
        collection."""
        peak = self.sender.heap_peak = max(self.sender.heap_peak, gc.mem_alloc())
        gc.collect()
        self.live = max(self.live, gc.mem_alloc())
        event("heap", peak=peak, live=self.live, total=gc.mem_alloc() + gc.mem_free())
