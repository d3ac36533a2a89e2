"""The device's life: take a picture, send it until it is accepted, open the answer, sleep.

One thread, one loop. Everything a step must not lose is on flash before the step is acknowledged, so the loop may be
killed anywhere and starts again from the store. Events go to standard output, one JSON object a line.
"""

import gc
import json
import random
import struct
import time

from bsdev import VERSION, answer, camera, net, power
from bsdev.config import Config, Keys
from bsdev.frame import Resizer
from bsdev.keys import Drbg, Stream
from bsdev.mqtt import Link
from bsdev.picture import Sender
from bsdev.store import Store

MAX_TRIES = 5
RETRIABLE = (1, 2, 4, 5)  # failure codes worth a new id; 3 (model, plan) and 6 (key) need a person


def event(kind, **fields):
    fields["event"] = kind
    print(json.dumps(fields))


class Device:
    """directory: config.json, secret.bin, pk.bin; on_result(label, index) is called for every answered picture.

    An answer is handed out at least once (again after a power cut between hook and acknowledgement); its image id in
    the event tells repeats apart.
    """

    def __init__(self, directory, on_result=None):
        self.cfg = cfg = Config(directory)
        self._hook = on_result
        self._prefix = "bs1/" + cfg.shard() + "/" + cfg.device
        self._feed = power.watchdog(cfg.watchdog_s)
        # Every large buffer, before the network takes its share of the memory.
        stream = Stream()
        self._sender = Sender(cfg, Keys(cfg), stream, self._feed)
        self._camera = camera.make(cfg.camera, cfg.shape, cfg.dir)
        self._resizer = Resizer(self._camera.format, self._camera.size, cfg.shape, cfg.camera.get("crop"))
        count = 1 if cfg.reveal == "top1" else max(len(cfg.labels), 16)
        self._link = Link(cfg, self._prefix, self._on_message, self._feed, max(512, 176 + 8 * count))
        self._drbg = Drbg(net.radio_on, stream)
        self._store = Store(directory)
        self._interval = cfg.interval_s if self._store.interval is None else self._store.interval
        self._next_capture = time.ticks_ms()
        self._forced = 0
        self._reboot = False
        self._live_peak = 0
        event("boot", boot=self._store.boot, version=VERSION, pending=len(self._store.pictures))

    # --- time

    def _after(self, seconds):
        return time.ticks_add(time.ticks_ms(), int(seconds * 1000))

    @staticmethod
    def _reached(ticks):
        return time.ticks_diff(time.ticks_ms(), ticks) >= 0

    @staticmethod
    def _spread(seconds):
        """Jitter: between half and the whole of it."""
        return seconds * (0.5 + random.random() / 2)

    # --- pictures

    def _want_picture(self):
        store, cfg = self._store, self.cfg
        if len(store.pictures) >= 16 * cfg.max_pending or len(store.waiting()) >= cfg.max_pending:
            return False
        if self._forced:
            return True
        return (not cfg.count or store.frames < cfg.count) and self._reached(self._next_capture)

    def _new_id(self):
        seed, tail = self._drbg.draw()
        return (struct.pack(">Q", self._store.boot) + tail).hex(), seed

    def _capture(self):
        image, seed = self._new_id()
        self._next_capture = self._after(self._interval)
        self._forced = 0
        self._camera.capture(self._store.frames)
        try:
            pic = self._store.add(image, seed, lambda write: self._resizer.run(self._camera.read_into, write))
        finally:
            self._camera.release()
        pic.due = time.ticks_ms()
        event("captured", image=pic.id, frame=pic.frame)

    def _send(self, pic):
        start = time.ticks_ms()
        sent = self._sender.send(pic, self._link, self._prefix, self._store)
        pic.due = self._after(self._patience(pic))
        self._report_heap()
        event("published", image=pic.id, frame=pic.frame, bytes=sent, blocks=self._sender.layout.blocks,
              ms=time.ticks_diff(time.ticks_ms(), start), resend=pic.sends > 1)

    def _patience(self, pic):
        """Seconds until the next resend or reminder."""
        pic.sends += 1
        return self._spread(min(self.cfg.retry_s * 2 ** min(pic.sends, 16), self.cfg.retry_max_s))

    def _remind(self, pic):
        """Ask for an answer that is overdue: the manifest again; the cloud repeats what it has for it."""
        self._sender.send_manifest(pic, self._link, self._prefix, self._store)
        pic.due = self._after(self._patience(pic))
        event("reminded", image=pic.id, frame=pic.frame)

    def _report_heap(self):
        peak = max(self._sender.heap_peak, gc.mem_alloc())
        gc.collect()
        self._live_peak = max(self._live_peak, gc.mem_alloc())
        event("heap", peak=peak, live=self._live_peak, total=gc.mem_alloc() + gc.mem_free())

    # --- what comes in

    def _on_message(self, topic, payload, retained):
        """Called by the link, which acknowledges to the broker only after this returns."""
        head = (self._prefix + "/").encode()
        if not topic.startswith(head):
            return
        parts = topic[len(head) :].split(b"/")
        if len(parts) != 2:
            return
        if parts[0] == b"cmd":
            if not retained:  # a retained command would repeat at every connection
                self._command(parts[1], bytes(payload[:16]))
        elif parts[0] == b"down" and len(payload) >= 2 and payload[1] == 1:
            pic = self._store.pictures.get(str(parts[1], "ascii")) if len(parts[1]) == 32 else None
            if pic and pic.hash:
                self._answer(pic, payload[0], payload[2:])

    def _command(self, name, value):
        if name == b"capture":
            self._forced = 1
        elif name == b"interval" and 0 < len(value) <= 6 and all(48 <= c <= 57 for c in value):
            self._interval = min(int(value), 604800)
            self._next_capture = self._after(self._interval)
            self._store.set_interval(self._interval)
            event("interval", seconds=self._interval)
        elif name == b"reboot":
            self._reboot = True

    def _answer(self, pic, kind, body):
        if kind == answer.RECEIPT:
            if answer.receipt_hash(body) != pic.hash:
                event("rejected", image=pic.id, reason="receipt for another manifest")
            elif not pic.accepted:
                self._store.accept(pic)
                pic.sends = 0
                pic.due = self._after(self._patience(pic))
                event("receipt", image=pic.id, frame=pic.frame)
        elif kind == answer.RESULT:
            try:
                attempt, values = answer.open_result(body, self.cfg, pic)
            except ValueError as e:
                event("rejected", image=pic.id, reason=str(e))
                return
            index, label, extra = answer.classify(values, self.cfg)
            event("result", image=pic.id, frame=pic.frame, index=index, label=label, attempt=attempt, **extra)
            if self._hook:
                self._hook(label, index)
            self._store.drop(pic)
        elif kind == answer.FAILURE:
            self._failed(pic, answer.failure(body))

    def _failed(self, pic, failure):
        if failure is None:
            return
        code, reason = failure
        again = not pic.accepted and code in RETRIABLE and pic.tries < MAX_TRIES
        event("failure", image=pic.id, frame=pic.frame, code=code, reason=reason, final=not again)
        if not again:
            self._store.drop(pic)
            return
        image, seed = self._new_id()
        new = self._store.renew(pic, image, seed)
        new.due = self._after(self._spread(min(self.cfg.retry_s * 2**new.tries, self.cfg.retry_max_s)))
        event("renewed", image=new.id, frame=new.frame, tries=new.tries)

    # --- the loop

    def _connect(self):
        net.join(self.cfg.wifi, self._feed)
        if self.cfg.broker.get("tls"):
            event("clock", source=net.set_clock(self.cfg.ntp, self._feed))
        kept = self._link.connect()
        self._link.subscribe((self._prefix + "/down/+", self._prefix + "/cmd/+"))
        self._status("online")
        event("connected", session_present=kept)
        if not kept:  # answers that waited in the broker are lost: ask again
            for pic in self._store.pictures.values():
                pic.due = time.ticks_ms()

    def _status(self, state):
        status = {"state": state, "version": VERSION, "boot": self._store.boot, "pending": len(self._store.pictures)}
        self._link.publish(self._prefix + "/status", json.dumps(status).encode(), True)

    def _step(self):
        """One thing that is due, or a wait for the next."""
        if self._reboot:
            raise _Leave("reboot")
        self._store.sweep()
        if self._want_picture():
            self._capture()
        soonest = 1000
        for pic in self._store.waiting():
            if self._reached(pic.due):
                self._send(pic)
                return
        for pic in list(self._store.pictures.values()):
            left = time.ticks_diff(pic.due, time.ticks_ms())
            if pic.accepted and left <= 0:
                self._remind(pic)
                return
            soonest = min(soonest, max(left, 0))
        if not self.cfg.count or self._store.frames < self.cfg.count:
            soonest = min(soonest, max(time.ticks_diff(self._next_capture, time.ticks_ms()), 20))
        self._link.poll(soonest)

    def _finished(self):
        store, cfg = self._store, self.cfg
        return cfg.count and store.frames >= cfg.count and not store.pictures and not self._forced

    def _sleep_due(self, awake):
        if self.cfg.sleep != "deep" or self._interval <= 0 or self._want_picture():
            return False
        return not self._store.pictures or self._reached(awake)

    def _serve(self, awake):
        while True:
            self._step()
            if self._finished():
                raise _Leave("done")
            if self._sleep_due(awake):
                raise _Leave("sleep")

    def run(self):
        """Runs until `count` pictures are answered, a reboot is asked for, or deep sleep (both end the process)."""
        failures = 0
        awake = self._after(self.cfg.awake_s)
        while True:
            try:
                self._connect()
                failures = 0
                self._serve(awake)
            except _Leave as leave:
                self._leave(leave.args[0])
                return
            except OSError as e:
                self._link.close()
                gc.collect()
                event("offline", reason=str(e))
            self._back_off(failures, awake)
            failures += 1

    def _back_off(self, failures, awake):
        cfg = self.cfg
        until = self._after(self._spread(min(cfg.backoff_s * 2 ** min(failures, 16), cfg.backoff_max_s)))
        while not self._reached(until):
            self._feed()
            if self._want_picture() and net.radio_on():
                self._capture()
            if cfg.sleep == "deep" and self._interval > 0 and self._reached(awake):
                self._leave("sleep")
            time.sleep_ms(max(0, min(200, time.ticks_diff(until, time.ticks_ms()))))

    def _leave(self, why):
        try:
            self._status("sleeping" if why == "sleep" else "offline")
            self._link.disconnect()
        except (OSError, AttributeError):
            self._link.close()
        if why == "sleep":
            seconds = max(1, time.ticks_diff(self._next_capture, time.ticks_ms()) // 1000)
            event("sleep", seconds=seconds)
            power.deep_sleep(seconds)
        self._report_heap()
        event(why)
        if why == "reboot":
            power.reboot()


class _Leave(Exception):
    """The loop ends in order: done, sleep or reboot."""
