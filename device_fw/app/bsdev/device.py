"""The device's life: take a picture, send it until it is accepted, open the answer, sleep.

One thread, one loop. Everything a step must not lose is on flash before the step is acknowledged, so the loop
may be killed anywhere and starts again from the store.
"""

import gc
import json
import time

# The largest modules first: compiling one takes five times its size from the heap.
from bsdev.mqtt import Link
from bsdev.store import Store
from bsdev.frame import Resizer
from bsdev import VERSION, camera, power
from bsdev.inbox import Inbox
from bsdev.clock import after, doubled, event, left, patience
from bsdev.keys import Drbg, Stream

try:
    import network  # noqa: F401 - before net.py, so that ports without it do not compile that

    from bsdev import net
except ImportError:  # no `network` module
    from bsdev import net_host as net


class Device:
    """cfg: Settings; sender: the Sender made for it; on_result(label, index) is called for every answered
    picture.

    An answer is handed out at least once (again after a power cut between hook and acknowledgement); its
    image id in the event tells repeats apart.
    """

    def __init__(self, cfg, sender, on_result=None):
        self.cfg = cfg
        self.prefix = "bs1/" + cfg.shard() + "/" + cfg.device
        self.feed = power.watchdog(cfg.watchdog_s)
        self.sender = sender
        sender.feed = self.feed
        self.camera = camera.make(cfg.camera, cfg.shape, cfg.dir)
        self.resizer = Resizer(self.camera.format, self.camera.size, cfg.shape, cfg.camera.get("crop"))
        self._drbg = Drbg(net.radio_on, Stream())
        self.store = store = Store(cfg.dir)
        self.inbox = Inbox(cfg, self.prefix, store, self._new_id, on_result)
        count = 1 if cfg.reveal == "top1" else max(len(cfg.labels), 16)
        self.link = Link(cfg, self.prefix, self.inbox.handle, self.feed, max(512, 176 + 8 * count))
        self.interval = cfg.interval_s if store.interval is None else store.interval
        self._next_capture = time.ticks_ms()
        self.live = 0
        event("boot", boot=store.boot, version=VERSION, pending=len(store.pictures), core=sender.core)

    # --- pictures

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
                pic = self.store.add(image, seed, lambda write: self.resizer.run(self._read, write))
            finally:
                self.camera.release()
        except OSError as e:  # no radio, no frame, no room: the next interval tries again
            self._next_capture = after(max(self.interval, 5))
            event("skipped", reason=str(e))
            return
        pic.due = time.ticks_ms()
        event("captured", image=pic.id, frame=pic.frame)

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

    # --- the loop

    def _connect(self):
        net.join(self.cfg.wifi, self.feed)
        if self.cfg.broker.get("tls"):
            event("clock", source=net.set_clock(self.cfg.ntp, self.feed))
        kept = self.link.connect()
        self.link.subscribe((self.prefix + "/down/+", self.prefix + "/cmd/+"))
        self._status("online")
        event("connected", session_present=kept)
        if not kept:  # answers that waited in the broker are lost: ask again
            for pic in self.store.pictures.values():
                pic.due = time.ticks_ms()

    def _status(self, state):
        status = {
            "state": state,
            "version": VERSION,
            "boot": self.store.boot,
            "pending": len(self.store.pictures),
        }
        self.link.publish(self.prefix + "/status", json.dumps(status).encode(), True)

    def _step(self):
        """One thing that is due, or a wait for the next."""
        self.store.sweep()
        if self.inbox.interval is not None:
            self.interval, self.inbox.interval = self.inbox.interval, None
            self._next_capture = after(self.interval)
        if self._want_picture():
            self._capture()
        wait = 1000
        for pic in self.store.waiting():
            wait = min(wait, left(pic.due))
            if wait <= 0:
                self._send(pic)
                return
        for pic in list(self.store.pictures.values()):
            wait = min(wait, left(pic.due))
            if pic.accepted and wait <= 0:
                self._remind(pic)
                return
        if self._more():
            wait = min(wait, max(left(self._next_capture), 20))
        self.link.poll(max(wait, 0))

    def _ending(self, awake):
        """Why to leave the loop, or None."""
        store = self.store
        if self.inbox.reboot:
            return "reboot"
        if not self._more() and not store.pictures and not self.inbox.capture:
            return "done"
        if self.cfg.sleep == "deep" and self.interval > 0 and not self._want_picture():
            if not store.pictures or left(awake) <= 0:
                return "sleep"
        return None

    def run(self):
        """Runs until `count` pictures are answered, a reboot is asked for, or deep sleep (each ends the
        process)."""
        failures = 0
        awake = after(self.cfg.awake_s)
        why = None
        while not why:
            try:
                self._connect()
                failures = 0
                while not why:
                    self._step()
                    why = self._ending(awake)
            except OSError as e:
                self.link.close()
                gc.collect()
                event("offline", reason=str(e))
                why = self._back_off(failures, awake)
                failures += 1
        self._leave(why)

    def _back_off(self, failures, awake):
        """Wait before the next connection; pictures are still taken, up to max_pending."""
        until = after(doubled(self.cfg.backoff_s, failures, self.cfg.backoff_max_s))
        while left(until) > 0:
            self.feed()
            if self._want_picture() and net.radio_on():
                self._capture()
            if self.cfg.sleep == "deep" and self.interval > 0 and left(awake) <= 0:
                return "sleep"
            time.sleep_ms(max(0, min(200, left(until))))
        return None

    def _leave(self, why):
        self.store.sweep()
        try:
            if self.link.connected():
                self._status("sleeping" if why == "sleep" else "offline")
                self.link.disconnect()
        except OSError:
            self.link.close()
        self.heap()
        if why == "sleep":
            seconds = max(1, left(self._next_capture) // 1000)
            event("sleep", seconds=seconds)
            power.deep_sleep(seconds)
        event(why)
        if why == "reboot":
            power.reboot()
