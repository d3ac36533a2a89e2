"""The device's life: take a picture, send it until it is accepted, open the answer, sleep.

One thread, one loop. Everything a step must not lose is on flash before the step is acknowledged, so the loop
may be killed anywhere and starts again from the store.
"""

import gc
import json
import time

# The largest modules first: compiling one takes five times its size from the heap.
from bsdev.mqtt import Link
from bsdev.capture import Capture
from bsdev import VERSION, power
from bsdev.inbox import Inbox
from bsdev.clock import after, doubled, event, left

try:
    import network  # noqa: F401 - before net.py, so that ports without it do not compile that

    from bsdev import net
except ImportError:  # no `network` module
    from bsdev import net_host as net


class Device(Capture):
    """cfg: Settings; sender: the Sender made for it; on_result(label, index) is called for every answered
    picture.

    An answer is handed out at least once (again after a power cut between hook and acknowledgement); its
    image id in the event tells repeats apart.
    """

    def __init__(self, cfg, sender, on_result=None):
        super().__init__(cfg, sender, power.watchdog(cfg.watchdog_s), net.radio_on)
        self.prefix = "bs1/" + cfg.shard() + "/" + cfg.device
        store = self.store
        self.inbox = Inbox(cfg, self.prefix, store, self._new_id, on_result)
        count = 1 if cfg.reveal == "top1" else max(len(cfg.labels), 16)
        self.link = Link(cfg, self.prefix, self.inbox.handle, self.feed, max(512, 176 + 8 * count))
        if cfg.home:
            from bsdev.home import Home

            self.home = Home(cfg, self.prefix, self.feed, net.rssi)
            self.inbox.tell = self.home.tell
        self.interval = cfg.interval_s if store.interval is None else store.interval
        event("boot", boot=store.boot, version=VERSION, pending=len(store.pictures), core=sender.core)

    def _connect(self):
        net.join(self.cfg.wifi, self.feed)
        if self.cfg.broker.get("tls"):
            event("clock", source=net.set_clock(self.cfg.ntp, self.feed))
        kept = self.link.connect()
        self.link.subscribe((self.prefix + "/down/+", self.prefix + "/cmd/+"))
        self._status("online")
        if self.home and not self.home.second:
            self.home.announce(self.link, self.prefix, self.interval)
        event("connected", session_present=kept)
        if not kept:  # answers that waited in the broker are lost: ask again
            for pic in self.store.pictures.values():
                pic.due = time.ticks_ms()

    def _status(self, state):
        home = self.home
        status = self._state(state, home and not home.second)
        self.link.publish(self.prefix + "/status", json.dumps(status).encode(), True)

    def _state(self, state, more):
        status = {"state": state, "version": VERSION, "boot": self.store.boot}
        status["pending"] = len(self.store.pictures)
        if self.hold:
            status["held"] = self.hold.count
        if more:
            status.update(self.home.telemetry(gc.mem_alloc()))
        return status

    def _tell_home(self, state):
        """Telemetry that is due, and answers: to the owner's own broker where there is one."""
        if self.home.second:
            self.home.flush(self._state(state, True), self.interval)
        else:
            self.home.due = after(self.cfg.home.get("every_s", 60))
            self._status(state)

    def _step(self):
        """One thing that is due, or a wait for the next."""
        self.store.sweep()
        if self.home and self.home.is_due():
            self._tell_home("online")
        if self.inbox.interval is not None:
            self.interval, self.inbox.interval = self.inbox.interval, None
            self._next_capture = after(self.interval)
            if self.home and not self.home.second:
                self.home.announce(self.link, self.prefix, self.interval)
        if self._want_picture():
            self._capture()
        wait = 1000
        store = self.store
        if self.hold and self.hold.count and not store.waiting() and len(store.pictures) < self.cfg.max_open:
            store.admit()
        for pic in store.waiting():
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
        open_ = store.pictures or (self.hold and self.hold.count)
        if not self._more() and not open_ and not self.inbox.capture:
            return "done"
        if self.cfg.sleep == "deep" and self.interval > 0 and not self._want_picture():
            if not open_ or left(awake) <= 0:
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
        """Wait before the next connection; pictures are still taken, up to max_pending, and the owner's own broker
        hears of it."""
        until = after(doubled(self.cfg.backoff_s, failures, self.cfg.backoff_max_s))
        while left(until) > 0:
            self.feed()
            if self.home and self.home.second and self.home.is_due():
                self._tell_home("disconnected")
            if self._want_picture() and net.radio_on():
                self._capture()
            if self.cfg.sleep == "deep" and self.interval > 0 and left(awake) <= 0:
                return "sleep"
            time.sleep_ms(max(0, min(200, left(until))))
        return None

    def _leave(self, why):
        self.store.sweep()
        state = "sleeping" if why == "sleep" else "offline"
        try:
            if self.link.connected():
                self._status(state)
                self.link.disconnect()
        except OSError:
            self.link.close()
        if self.home and self.home.second:
            self.home.flush(self._state(state, True), self.interval)
        self.heap()
        if why == "sleep":
            seconds = max(1, left(self._next_capture) // 1000)
            event("sleep", seconds=seconds)
            power.deep_sleep(seconds)
        event(why)
        if why == "reboot":
            power.reboot()
