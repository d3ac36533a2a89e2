"""The cloud's connection to the broker: paho, persistent session, QoS 1, acknowledged by hand after the
commit. With MQTT 5 also a limit on what is unacknowledged, and messages that expire.
"""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from blindsight.cloud.config import Broker
from blindsight.service.config import ConfigError
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.service.secretfile import key_password, read_text
from blindsight.wire import topics

SESSION_S = 14 * 86400  # what the broker keeps for a cloud that is away
OnMessage = Callable[["Arrival"], None]


class Arrival:
    """A message that waits for its acknowledgement."""

    __slots__ = ("_link", "generation", "mid", "payload", "topic")

    def __init__(self, link: BrokerLink, message: mqtt.MQTTMessage, generation: int) -> None:
        self._link, self.mid, self.generation = link, message.mid, generation
        self.topic, self.payload = message.topic, bytes(message.payload)

    def ack(self) -> None:
        """Lets the broker forget the message; only over the connection it came by (numbers are used again
        after).
        """
        self._link.ack(self)


class BrokerLink:
    """Connects, reconnects, subscribes to the shards; `published(mid)` is called when the broker has a
    message.
    """

    def __init__(
        self, config: Broker, shards: str, on_message: OnMessage, published: Callable[[int], None], metrics: Metrics,
        log: Log,
    ) -> None:  # fmt: skip
        self._config, self._shards, self._metrics, self._log = config, shards, metrics, log
        self._on_message, self._published = on_message, published
        self._generation = 0
        self.connected = threading.Event()
        self._five = config.protocol == "5"
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"{config.client_id}-{shards}"[:64],
            clean_session=None if self._five else False,
            protocol=mqtt.MQTTv5 if self._five else mqtt.MQTTv311,
            manual_ack=True,
        )
        self._client.reconnect_delay_set(1, 30)
        self._client.max_queued_messages_set(1000)
        self._client.on_connect = self._connect
        self._client.on_disconnect = self._disconnect
        self._client.on_message = self._message
        self._client.on_connect_fail = self._unreachable
        self._client.on_subscribe = lambda *_: log.info("subscribed", shards=shards)
        self._client.on_publish = lambda _client, _data, mid, *_: self._published(mid)
        if config.user is not None:
            self._client.username_pw_set(config.user, _password(config))
        if config.ca is not None:
            self._client.tls_set_context(_context(config))

    def start(self) -> None:
        """Connects in the background and keeps trying."""
        where = (self._config.host, self._config.port, self._config.keepalive_s)
        if self._five:
            connect = Properties(PacketTypes.CONNECT)
            connect.SessionExpiryInterval = SESSION_S
            connect.ReceiveMaximum = self._config.receive_maximum
            self._client.connect_async(*where, clean_start=False, properties=connect)
        else:
            self._client.connect_async(*where)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnects; the session stays at the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes) -> int | None:
        """Publishes with QoS 1; the message's number, or None while there is no connection."""
        if not self.connected.is_set():
            return None
        properties = None
        if self._five:
            properties = Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = self._config.expiry_s
        info = self._client.publish(topic, payload, qos=1, properties=properties)
        return info.mid if info.rc == mqtt.MQTT_ERR_SUCCESS else None

    def ack(self, arrival: Arrival) -> None:
        """Acknowledges an arrival of the present connection."""
        if arrival.generation == self._generation and self.connected.is_set():
            self._client.ack(arrival.mid, 1)

    def _connect(
        self, client: mqtt.Client, _data: object, flags: mqtt.ConnectFlags, code: mqtt.ReasonCode, *_: object
    ) -> None:
        if code.is_failure:
            self._log.error("broker-refused", reason=str(code))
            return
        self._generation += 1
        option: Any = mqtt.SubscribeOptions(qos=1) if self._five else 1
        client.subscribe([(topic, option) for topic in topics.subscriptions(self._shards)])
        self.connected.set()
        self._metrics.gauge("broker_connected", 1)
        self._log.info("broker-connected", session_present=flags.session_present)

    def _unreachable(self, _client: mqtt.Client, _data: object) -> None:
        error = sys.exc_info()[1]
        self._metrics.count("broker_unreachable")
        self._log.warning("broker-unreachable", detail=str(error) if error else "")

    def _disconnect(
        self, _client: mqtt.Client, _data: object, _flags: object, code: mqtt.ReasonCode, *_: object
    ) -> None:
        self.connected.clear()
        self._metrics.gauge("broker_connected", 0)
        self._log.warning("broker-disconnected", reason=str(code))

    def _message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._on_message(Arrival(self, message, self._generation))


def _password(config: Broker) -> str | None:
    if config.password_file is None:
        return None
    try:
        return read_text(config.password_file).strip()
    except OSError as error:
        raise ConfigError(f"broker.password_file {config.password_file}: {error.strerror}") from None


def _context(config: Broker) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(config.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.certificate is not None and config.key is not None:
            context.load_cert_chain(config.certificate, config.key, key_password(config.key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"broker.ca, broker.certificate or broker.key cannot be used: {error}") from None
    return context
