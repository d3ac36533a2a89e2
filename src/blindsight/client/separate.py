"""The rule of the second broker: an answer goes to a broker of the owner's, never to the cloud's.

Adversary: the cloud, which runs its broker and sees what passes through it; and an owner's mistake. A broker is refused
as the cloud's own when host and port are equal, when both names lead to one address (whatever the port: the machine is
the cloud's; on loopback, where everything is one machine, the port decides), when both show one TLS certificate, and
when the cloud's own topics are heard on it. What this cannot see: a bridge that somebody runs between the two.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket

from blindsight.client.errors import ClientError
from blindsight.client.identity import Broker
from blindsight.client.link import Peer

WHY = "it would tell the cloud the answer; name a broker that you run yourself"


class SameBroker(ClientError):
    """The second broker is the cloud's."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the second broker is refused, it is the cloud's ({how}): {WHY}")


def _name(host: str) -> str:
    return host.strip().rstrip(".").lower()


def addresses(host: str) -> set[str]:
    """Every address of a host, IPv4 ones plain, all of loopback as one; empty where it does not resolve."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(_name(host), None)}
    except OSError:
        return set()
    return {_canonical(text) for text in found}


def _canonical(text: str) -> str:
    address = ipaddress.ip_address(text.split("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return "loopback" if address.is_loopback or address.is_unspecified else str(address)


def refuse_same(cloud: Broker, second: Broker) -> None:
    """By name and address, before any connection. Raises `SameBroker`."""
    if _name(cloud.host) == _name(second.host) and cloud.port == second.port:
        raise SameBroker("the same host and port")
    if both := addresses(cloud.host) & addresses(second.host):
        (one, *_) = sorted(both)
        if one != "loopback" or cloud.port == second.port:
            raise SameBroker(f"{cloud.host} and {second.host} are one machine, {one}")


def refuse_same_connection(
    cloud: Peer | None, shown: bytes | None, second: Peer | None, too: bytes | None
) -> None:
    """By the addresses and certificates (DER) of two live connections; None where there is none. Raises
    `SameBroker`.
    """
    if cloud is not None and second is not None:
        one, other = _canonical(cloud[0]), _canonical(second[0])
        if one == other and (one != "loopback" or cloud[1] == second[1]):
            raise SameBroker(f"both connections end at {one}")
    if shown is not None and shown == too:
        raise SameBroker(f"both show the certificate {hashlib.sha256(shown).hexdigest()[:16]}")
