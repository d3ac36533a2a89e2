"""paho's client as asyncio sees it: callbacks arrive on the event loop, everything else is its own thread's."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt

from blindsight.client.errors import ClientError
from blindsight.client.identity import Broker
from blindsight.service.secretfile import SecretError, key_password

HANDSHAKE_S = 10.0
OnMessage = Callable[[str, bytes, bool], None]  # topic, payload, retained
OnConnect = Callable[[bool], None]  # whether the broker kept the session
Peer = tuple[str, int]
Check = Callable[
    [Peer, bytes | None], None
]  # address and certificate (DER) of the other end; raises ClientError


@dataclass(frozen=True)
class Will:
    """What the broker says for us when we are gone."""

    topic: str
    payload: bytes


class Link:
    """A connection to one broker that comes back by itself. `reason` says why there is none just now.

    `check` sees every connection before the first MQTT byte, in paho's thread; where it raises, the connection is closed
    and `fault` keeps the reason.
    """

    def __init__(
        self, broker: Broker, client_id: str, on_message: OnMessage, on_connect: OnConnect, will: Will | None = None,
        check: Check | None = None,
    ) -> None:  # fmt: skip
        self._check = check
        self.fault: ClientError | None = None
        self.broker, self._on_message, self._on_connect = broker, on_message, on_connect
        self._loop = asyncio.get_running_loop()
        self.up = asyncio.Event()
        self._refused = asyncio.Event()  # for a reason that trying again does not mend
        self.reason = "it does not answer"
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self._client.reconnect_delay_set(1, 60)
        self._client.connect_timeout = 10.0
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_connect_fail = self._failed
        self._client.on_socket_open = self._opened
        self._client.on_message = lambda _c, _d, m: self._post(
            self._on_message, m.topic, bytes(m.payload), m.retain
        )
        if broker.user is not None:
            self._client.username_pw_set(broker.user, broker.password)
        if broker.ca is not None:
            self._client.tls_set_context(_context(broker))
        if will is not None:
            self._client.will_set(will.topic, will.payload, 1, retain=True)

    async def open(self, timeout: float) -> None:
        """Connects; `ClientError` with the reason when that takes longer."""
        self._client.connect_async(self.broker.host, self.broker.port, 30)
        self._client.loop_start()
        waits = [asyncio.ensure_future(event.wait()) for event in (self.up, self._refused)]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self.up.is_set():
            await self.close()
            if self.fault is not None:
                raise self.fault
            raise ClientError(f"no connection to broker {self.broker.host}:{self.broker.port}: {self.reason}")

    async def close(self) -> None:
        """Ends the connection in order."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def subscribe(self, *topics: str) -> None:
        """At QoS 1; call it from `on_connect`, so that every connection does."""
        self._client.subscribe([(topic, 1) for topic in topics])

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> mqtt.MQTTMessageInfo:
        """At QoS 1; sent again by itself until the broker has it."""
        return self._client.publish(topic, payload, qos=1, retain=retain)

    def certificate(self) -> bytes | None:
        """The broker's TLS certificate (DER) of the present connection."""
        return _certificate(self._client.socket())

    def peer(self) -> Peer | None:
        """The address at the other end of the present connection."""
        sock = self._client.socket()
        try:
            return None if sock is None else sock.getpeername()[:2]
        except OSError:  # it just broke
            return None

    # --- in paho's thread

    def _post(self, call: Callable[..., None], *values: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *values)

    def _opened(self, _c: mqtt.Client, _d: object, sock: Any) -> None:
        if self._check is None:
            return
        try:
            self._check(sock.getpeername()[:2], _certificate(sock))
        except ClientError as error:
            self.fault = error
            self._post(self._down, str(error), True)
            sock.close()
            raise ConnectionRefusedError(str(error)) from None

    def _connected(
        self, _c: mqtt.Client, _d: object, flags: mqtt.ConnectFlags, code: mqtt.ReasonCode, *_: object
    ) -> None:
        if code.is_failure:
            self._post(self._down, f"refused: {code}", True)
        else:
            self._post(self._is_up, bool(flags.session_present))

    def _disconnected(
        self, _c: mqtt.Client, _d: object, _f: object, code: mqtt.ReasonCode, *_: object
    ) -> None:
        self._post(self._down, None if not code.is_failure else f"lost: {code}")

    def _failed(self, _c: mqtt.Client, _d: object) -> None:
        error = sys.exc_info()[1]
        fatal = isinstance(error, ssl.SSLCertVerificationError)
        self._post(self._down, str(error) if error else None, fatal)

    # --- on the event loop

    def _is_up(self, kept: bool) -> None:
        self.up.set()
        self._on_connect(kept)

    def _down(self, reason: str | None, refused: bool = False) -> None:
        self.up.clear()
        if refused:
            self._refused.set()
        if reason is not None:
            self.reason = reason


def _certificate(sock: Any) -> bytes | None:
    return sock.getpeercert(True) if isinstance(sock, ssl.SSLSocket) else None


class _Context(ssl.SSLContext):
    """A client's context that shakes hands while it wraps: paho forgets a socket whose handshake fails. `name` is what
    the certificate must say where that is not the host.
    """

    name: str | None = None

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        options |= {"do_handshake_on_connect": False}
        if self.name is not None:
            options["server_hostname"] = self.name
        sock = super().wrap_socket(*args, **options)
        try:
            sock.settimeout(HANDSHAKE_S)
            sock.do_handshake()
        except BaseException:
            sock.close()
            raise
        return sock


def _context(broker: Broker) -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.name = broker.server_name
    try:
        context.load_verify_locations(broker.ca)
        if broker.certificate is not None and broker.key is not None:
            context.load_cert_chain(broker.certificate, broker.key, key_password(broker.key))
    except SecretError as error:
        raise ClientError(str(error)) from None
    except (OSError, ssl.SSLError) as error:
        raise ClientError(f"broker.ca, broker.certificate or broker.key cannot be used: {error}") from None
    return context
