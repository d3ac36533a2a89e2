"""Framed messages between the two servers: in memory, over TCP, over TLS with mutual authentication.

Adversary: an outsider on the network (TLS answers it) and a peer that is semi-honest in the protocols but may be broken: every frame's
type and length is checked before its bytes are used, every wait has a limit, every failure is one `ChannelError`.
Formats: docs/wire.md section 6; interface: docs/interfaces.md.
"""

from blindsight.channel.base import (
    Channel,
    ChannelError,
    PeerClosed,
    PeerTimeout,
    ProtocolError,
    Stats,
    VersionError,
)
from blindsight.channel.counting import Recorder
from blindsight.channel.memory import memory_pair
from blindsight.channel.shaped import WAN, Link, shaped
from blindsight.channel.tcp import TcpListener, connect_socket, tcp_connect, tcp_listen
from blindsight.channel.tls import TlsFiles, tls_connect, tls_listen

__all__ = [
    "WAN",
    "Channel",
    "ChannelError",
    "Link",
    "PeerClosed",
    "PeerTimeout",
    "ProtocolError",
    "Recorder",
    "Stats",
    "TcpListener",
    "TlsFiles",
    "VersionError",
    "connect_socket",
    "memory_pair",
    "shaped",
    "tcp_connect",
    "tcp_listen",
    "tls_connect",
    "tls_listen",
]
