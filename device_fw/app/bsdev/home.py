"""For the owner's home: telemetry as Home Assistant's MQTT discovery wants it, and answers on a broker of the
owner's own.

Opt-in (config.json `home`). Without `home.broker` the device's heap, radio and energy are announced on the
cloud's broker, which may know them; answers never go there: they would tell the cloud what the picture shows.
With `home.broker`, a second broker that the owner runs, everything goes to that one instead and answers may
too. config.py refuses a second broker that is the cloud's by name; here it is refused by address, and when
the cloud's own topics are heard on it. Answers wait in RAM, at most 4; the newest is retained by the broker.
"""

import json
import socket
import time

from bsdev import VERSION
from bsdev.clock import after, event, left
from bsdev.mqtt import Link

MOST = 4


class _Account:
    """The settings a Link reads, for the second broker."""

    def __init__(self, cfg):
        self.broker = cfg.home["broker"]
        self.device = "blindsight-" + cfg.device
        self.timeout_s = min(cfg.timeout_s, 10)
        self.keepalive_s = 60
        self.read = cfg.read


def _addresses(host, port):
    return set(repr(entry[-1]) for entry in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))


def one_machine(a, b):
    """Do two brokers lie at one address? On loopback, where all is one machine, the port decides."""
    both = _addresses(a["host"], 1) & _addresses(b["host"], 1)
    return bool(both) and (a["port"] == b["port"] or not both & _addresses("127.0.0.1", 1))


def _sensor(device, expiry, key, name, unit=None, kind=None, state="measurement"):
    out = {"platform": "sensor", "unique_id": "blindsight-" + device + "-" + key, "name": name}
    out["expire_after"] = expiry
    out["value_template"] = "{{ value_json." + key + " }}"
    out["entity_category"] = "diagnostic"
    if state:
        out["state_class"] = state
    if unit:
        out["unit_of_measurement"] = unit
    if kind:
        out["device_class"] = kind
    return out


class Home:
    """cfg: Settings with `home`; prefix: the device's topics on the cloud's broker; rssi(): dBm or None."""

    def __init__(self, cfg, prefix, feed, rssi):
        self.cfg = cfg
        self.home = cfg.home
        self.prefix = prefix
        self.feed = feed
        self.rssi = rssi
        self.second = bool(cfg.home.get("broker"))
        self.answers = []
        self.sent = 0  # pictures, since boot
        self.heard = False
        self.refused = False
        self._announced = 0  # with which expiry
        self.due = time.ticks_ms()

    def is_due(self):
        return not self.refused and left(self.due) <= 0

    def telemetry(self, heap):
        """What `status` says beside the state."""
        out = {"heap": heap}
        rssi = self.rssi()
        if rssi is not None:
            out["rssi"] = rssi
        if self.home.get("energy_mj"):
            out["energy"] = self.sent * self.home["energy_mj"] / 1000
        return out

    def tell(self, pic, index, label, attempt, extra):
        """An answer, for the owner's broker alone."""
        if self.second and self.home.get("result") and not self.refused:
            body = {"device": self.cfg.device, "image": pic.id, "frame": pic.frame, "index": index}
            body.update(extra)
            body["label"], body["attempt"] = label, attempt
            self.answers.append(json.dumps(body))
            del self.answers[:-MOST]
            self.due = time.ticks_ms()

    def expiry(self, interval):
        """Seconds of silence after which the board counts as gone; interval: seconds between pictures.

        Three reports may be missed, each as late as a network that does not answer makes it. A board that sleeps
        reports when it wakes. The last will cannot say it: a sleeping board has left in order, and the second
        broker is left in order after each report.
        """
        every = self.home.get("every_s", 60)
        if self.cfg.sleep == "deep" and interval > 0:
            every = interval + self.cfg.awake_s
        return int(3 * (every + self.cfg.timeout_s)) + 60

    def _entities(self, topic, expiry):
        both = self.cfg.device, expiry
        out = {
            "state": _sensor(*both, "state", "State", state=None),
            "heap": _sensor(*both, "heap", "Heap in use", "B", "data_size"),
            "pending": _sensor(*both, "pending", "Pictures waiting"),
        }
        if self.rssi() is not None:
            out["rssi"] = _sensor(*both, "rssi", "Signal", "dBm", "signal_strength")
        if self.home.get("energy_mj"):
            name = "Energy since start (estimate)"
            out["energy"] = _sensor(*both, "energy", name, "J", "energy", "total_increasing")
        if self.second and self.home.get("result"):
            out["result"] = {  # the last answer, however old: the next may be long in coming
                "platform": "sensor",
                "unique_id": "blindsight-" + self.cfg.device + "-result",
                "name": "Result",
                "state_topic": topic + "/result",
                "value_template": "{{ value_json.label or value_json.index }}",
                "json_attributes_topic": topic + "/result",
            }
        return out

    def announce(self, link, topic, interval):
        """One retained discovery message; `topic`: whose `/status` the state stands in; interval: as in `expiry`,
        and when that changes this is due again."""
        if not self.home.get("discovery", True):
            return
        expiry = self.expiry(interval)
        device, state = self.cfg.device, topic + "/status"
        name = "blindsight-" + device
        seen = "{{ 'offline' if value_json.state == 'offline' else 'online' }}"
        message = {
            "device": {"identifiers": [name], "name": "Blindsight " + device, "sw_version": VERSION},
            "origin": {"name": "blindsight", "sw_version": VERSION},
            "availability": [{"topic": state, "value_template": seen}],
            "state_topic": state,
            "components": self._entities(topic, expiry),
        }
        prefix = self.home.get("prefix", "homeassistant")
        link.publish(prefix + "/device/" + name + "/config", json.dumps(message).encode(), True)
        self._announced = expiry

    def _hear(self, topic, payload, retained):
        if topic.startswith(b"bs1/"):
            self.heard = True

    def _refuse(self, how):
        self.refused = True
        self.answers = []
        event("home", refused="the second broker is the cloud's (" + how + "): it would learn the answers")

    def flush(self, status, interval):
        """Connect to the second broker, say what there is, leave. Errors wait for the next time."""
        self.due = after(self.home.get("every_s", 60))
        if self.refused:
            return
        account = _Account(self.cfg)
        topic = "blindsight/" + self.cfg.device
        try:
            if one_machine(self.cfg.broker, account.broker):
                self._refuse("one address")
                return
            link = Link(account, topic, self._hear, self.feed, 640)
            try:
                link.connect()
                self.heard = False
                link.subscribe((self.prefix + "/status",))
                link.poll(200)  # a retained status would come at once
                if self.heard:
                    self._refuse("its topics are heard there")
                    return
                if self._announced != self.expiry(interval):
                    self.announce(link, topic, interval)
                link.publish(topic + "/status", json.dumps(status).encode(), True)
                while self.answers:
                    link.publish(topic + "/result", self.answers[0].encode(), True)
                    self.answers.pop(0)
                link.disconnect()
            finally:
                link.close()
        except OSError as e:
            event("home", reason=str(e))
