"""An MQTT 3.1.1 link: one persistent session, QoS 1, publishes streamed piece by piece, TLS with
CERT_REQUIRED.

Publishing is one message at a time: begin, write..., end (which waits for the PUBACK). Incoming messages go
to `on_message(topic, payload, retained)` whenever the link waits, and are acknowledged after it returns: what
it must keep has to be durable by then. Every error is an OSError; close and connect again. Not thread-safe,
not re-entrant: on_message must not publish.
"""

import select
import socket
import struct
import time

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 0x20, 0x30, 0x40, 0x90, 0xD0
_REFUSALS = (
    "",
    "protocol version",
    "client id",
    "server unavailable",
    "bad user name or password",
    "not authorised",
)


def _string(text):
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("!H", len(raw)) + raw


def _length(n):
    out = bytearray()
    while True:
        n, low = n >> 7, n & 127
        out.append(low | (128 if n else 0))
        if not n:
            return bytes(out)


class Link:
    """settings: Settings; topic: the device's prefix without a last slash; limit: largest incoming topic +
    payload."""

    def __init__(self, settings, topic, on_message, feed, limit):
        self.cfg = settings
        self.broker = settings.broker
        self.topic = topic
        self.on_message = on_message
        self.feed = feed
        self.timeout = int(settings.timeout_s * 1000)
        self._rx = bytearray(limit)
        self._view = memoryview(self._rx)
        self._small = bytearray(4)
        self._sock = self._raw = None
        self._poll = None
        self._pid = 0
        self._open = None  # (topic, packet id) of the publish under way
        self._lost = None  # the one that a lost connection left open
        self._left = 0
        self._acked = 0
        self._sent = self._pinged = 0
        self._resume = False

    # --- connection

    def connect(self):
        """Connect and log in; returns whether the broker kept our session."""
        self.close()
        host, port = self.broker["host"], self.broker["port"]
        address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0][-1]
        self._raw = self._sock = socket.socket()
        self._raw.settimeout(self.timeout / 1000)
        self._raw.connect(address)
        try:
            self._raw.setsockopt(6, 1, 1)  # IPPROTO_TCP, TCP_NODELAY: a PUBACK is awaited after every message
        except (OSError, AttributeError):
            pass  # only slower
        if self.broker.get("tls"):
            self._sock = self._tls(self._raw, self.broker.get("server_name", host))
        self._sock.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        user, password = self.broker.get("user"), self.broker.get("password")
        flags = 0x2C | (0x80 if user else 0) | (0x40 if user and password else 0)  # will: QoS 1, retained
        body = b"\x00\x04MQTT\x04" + bytes((flags,)) + struct.pack("!H", int(self.cfg.keepalive_s))
        body += _string(self.cfg.device) + _string(self.topic + "/status") + _string('{"state": "offline"}')
        if user:
            body += _string(user) + (_string(password) if password else b"")
        self._write(b"\x10" + _length(len(body)) + body)
        kind, size = self._header(self._deadline())
        if kind != CONNACK or size != 2:
            raise OSError("MQTT: expected CONNACK")
        self._read(self._view[:2], self._deadline())
        code = self._rx[1]
        if code:
            raise OSError("MQTT: refused, " + (_REFUSALS[code] if code < 6 else str(code)))
        self._resume = bool(self._rx[0] & 1)
        self._pinged = 0
        self._lost, self._open = self._open or self._lost, None
        return self._resume

    def _tls(self, sock, name):
        import ssl

        from bsdev import pem

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            for certificate in pem.load(self.cfg, self.broker, "ca"):
                context.load_verify_locations(cadata=certificate)
            if self.broker.get("certificate"):
                key = pem.load(self.cfg, self.broker, "key")[0]
                for certificate in pem.load(self.cfg, self.broker, "certificate"):
                    context.load_cert_chain(certificate, key)  # each joins those before it: the chain
            return context.wrap_socket(sock, server_hostname=name)
        except ValueError as e:  # what a certificate that does not verify raises
            raise OSError("TLS: " + str(e).replace("\n", " "))

    def close(self):
        for sock in (self._sock, self._raw):
            if sock:
                try:
                    sock.close()
                except OSError:
                    pass  # already gone
        self._sock = self._raw = None

    def connected(self):
        return self._sock is not None

    def disconnect(self):
        """An orderly end: the broker does not publish the last will."""
        self._write(b"\xe0\x00")
        self.close()

    # --- bytes

    def _deadline(self):
        return time.ticks_add(time.ticks_ms(), self.timeout)

    def _wait(self, event, deadline):
        left = time.ticks_diff(deadline, time.ticks_ms())
        if left <= 0:
            raise OSError("MQTT: timed out")
        self.feed()
        self._poll.modify(self._sock, event)
        self._poll.poll(min(left, 500))

    def _write(self, data):
        view = memoryview(data)
        deadline = self._deadline()
        at = 0
        while at < len(view):
            n = self._sock.write(view[at:])
            if n:
                at += n
                deadline = self._deadline()
            else:
                self._wait(select.POLLOUT, deadline)
        self._sent = time.ticks_ms()

    def _read(self, view, deadline):
        at = 0
        while at < len(view):
            n = self._sock.readinto(view[at:])
            if n:
                at += n
            elif n is None:
                self._wait(select.POLLIN, deadline)
            else:
                raise OSError("MQTT: the broker closed the connection")

    def _header(self, deadline):
        """(type byte, remaining length) of the next packet."""
        one = memoryview(self._small)[:1]
        self._read(one, deadline)
        kind = self._small[0]
        size = shift = 0
        while True:
            self._read(one, deadline)
            size |= (self._small[0] & 127) << shift
            shift += 7
            if not self._small[0] & 128:
                return kind, size
            if shift > 21:
                raise OSError("MQTT: malformed length")

    def _skip(self, size):
        deadline = self._deadline()
        while size:
            n = min(size, len(self._rx))
            self._read(self._view[:n], deadline)
            size -= n

    # --- packets

    def _packet(self, deadline):
        """Read and handle one packet."""
        kind, size = self._header(deadline)
        deadline = self._deadline()
        if kind & 0xF0 == PUBLISH:
            self._incoming(kind, size, deadline)
        elif kind in (PUBACK, SUBACK):
            if not 2 <= size <= len(self._rx):
                raise OSError("MQTT: malformed acknowledgement")
            self._read(self._view[:size], deadline)
            if kind == SUBACK and any(code > 2 for code in self._rx[2:size]):
                raise OSError("MQTT: the broker refused a subscription; check its access list")
            self._acked = self._rx[0] << 8 | self._rx[1]
        elif kind == PINGRESP and size == 0:
            self._pinged = 0
        else:
            raise OSError("MQTT: unexpected packet")

    def _incoming(self, kind, size, deadline):
        qos = kind >> 1 & 3
        head = memoryview(self._small)
        if qos > 1 or size < 2:
            raise OSError("MQTT: malformed publish")
        self._read(head[:2], deadline)
        n = self._small[0] << 8 | self._small[1]
        if n + 2 + 2 * qos > size:
            raise OSError("MQTT: malformed publish")
        body = size - 2 - 2 * qos
        if n > len(self._rx):
            raise OSError("MQTT: topic too long")
        self._read(self._view[:n], deadline)
        topic = bytes(self._view[:n])
        if qos:
            self._read(head[2:4], deadline)
            packet = bytes(head[2:4])
        if body > len(self._rx):
            self._skip(body - n)  # larger than anything meant for us
        else:
            self._read(self._view[n:body], deadline)
            self.on_message(topic, self._view[n:body], bool(kind & 1))
        if qos:
            self._write(b"\x40\x02" + packet)

    def _ready(self, ms):
        """Is there something to read within ms?"""
        self._poll.modify(self._sock, select.POLLIN)
        return bool(self._poll.poll(ms))

    def poll(self, ms):
        """Handle what comes in for up to ms milliseconds (at least once), keep the connection alive."""
        end = time.ticks_add(time.ticks_ms(), ms)
        while True:
            left = time.ticks_diff(end, time.ticks_ms())
            self.feed()
            if self._ready(max(0, min(left, 500))):
                self._packet(self._deadline())
                return
            self._alive()
            if left <= 0:
                return

    def _alive(self):
        now = time.ticks_ms()
        if self._pinged:
            if time.ticks_diff(now, self._sent) > self.timeout:
                raise OSError("MQTT: no answer to a ping")
        elif time.ticks_diff(now, self._sent) > self.cfg.keepalive_s * 500:
            self._write(b"\xc0\x00")
            self._pinged = 1

    def _next_pid(self):
        self._pid = self._pid % 65535 + 1
        return self._pid

    def _await(self, pid):
        deadline = self._deadline()
        while self._acked != pid:
            self._packet(deadline)

    def subscribe(self, topics):
        """Subscribe to every topic at QoS 1 and wait for the broker to agree."""
        pid = self._next_pid()
        body = struct.pack("!H", pid)
        for topic in topics:
            body += _string(topic) + b"\x01"
        self._acked = 0
        self._write(b"\x82" + _length(len(body)) + body)
        self._await(pid)

    def begin(self, topic, size, retain=False):
        """Start a QoS 1 publish of `size` payload bytes; write() them and end()."""
        raw = topic.encode()
        again = self._resume and self._lost is not None and self._lost[0] == topic
        pid = self._lost[1] if again else self._next_pid()
        if again:
            self._lost = None
        self._open = (topic, pid)
        kind = PUBLISH | 2 | (8 if again else 0) | (1 if retain else 0)
        self._acked = 0
        self._write(bytes((kind,)) + _length(len(raw) + 4 + size) + _string(raw) + struct.pack("!H", pid))
        self._left = size

    def write(self, data):
        self._left -= len(data)
        if self._left < 0:
            raise OSError("MQTT: more bytes than begin() announced")
        self._write(data)

    def end(self):
        """Wait for the PUBACK."""
        if self._left:
            raise OSError("MQTT: fewer bytes than begin() announced")
        self._await(self._open[1])
        self._open = None

    def publish(self, topic, payload, retain=False):
        self.begin(topic, len(payload), retain)
        self.write(payload)
        self.end()
