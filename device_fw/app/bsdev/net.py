"""Wi-Fi and the clock of a board (net_host.py serves ports without a radio).

NTP is not authenticated: an attacker on the path can move the clock forward, at worst past certificates' end
(no connection), never before this firmware's build date, which bounds how old a certificate it can revive.
"""

import network
import socket
import sys
import time

from bsdev import BUILT

NTP_EPOCH = 2208988800  # seconds from 1900 to 1970
NTP_TIMEOUT_S = 2
# Ports whose os.urandom is the operating system's or a true generator with the radio off.
_OS_ENTROPY = ("rp2", "mimxrt", "pyboard", "linux")


def _station():
    return network.WLAN(network.STA_IF)


def radio_on():
    """May os.urandom be trusted now? An ESP32's generator is random only while its radio runs."""
    return sys.platform in _OS_ENTROPY or bool(_station().active())


def rssi():
    """Signal strength in dBm, or None where the port does not tell."""
    try:
        return _station().status("rssi")
    except (OSError, ValueError, TypeError):
        return None


def joined(wifi):
    return not wifi or _station().isconnected()


def join(wifi, feed, timeout_s=20):
    """Join (or rejoin) the network of config.json's `wifi` {"ssid", "password"}; OSError when it fails."""
    if joined(wifi):
        return
    station = _station()
    station.active(True)
    try:
        station.disconnect()
    except OSError:
        pass  # was not associated
    station.connect(wifi["ssid"], wifi.get("password"))
    for _ in range(timeout_s * 10):
        if station.isconnected():
            return
        feed()
        time.sleep_ms(100)
    raise OSError("Wi-Fi: cannot join " + wifi["ssid"])


def _unix_time():
    """Seconds since 1970, whatever this port's epoch is."""
    return int(time.time()) + (946684800 if time.gmtime(0)[0] == 2000 else 0)


def _floor():
    seconds = 0
    for year in range(1970, BUILT[0]):
        seconds += 86400 * (366 if year % 4 == 0 else 365)
    for month in range(1, BUILT[1]):
        leap = month == 2 and BUILT[0] % 4 == 0
        seconds += 86400 * ((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1] + leap)
    return seconds + 86400 * (BUILT[2] - 1)


def _ask(host):
    """Unix seconds from one SNTP exchange (RFC 4330), OSError when there is no sane answer."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.settimeout(NTP_TIMEOUT_S)
        name, _, port = host.partition(":")
        address = socket.getaddrinfo(name, int(port or 123))[0][-1]
        query = bytearray(48)
        query[0] = 0x23  # version 4, client
        sock.sendto(query, address)
        answer = sock.recv(48)
    finally:
        sock.close()
    if len(answer) != 48 or answer[0] & 7 != 4 or not 0 < answer[1] < 16:
        raise OSError("NTP: no usable answer")
    return (int.from_bytes(answer[40:44], "big") - NTP_EPOCH) & 0xFFFFFFFF


def set_clock(host, feed):
    """Set the board's clock before TLS; returns "system", "ntp" or "floor" (the build date, when NTP
    fails)."""
    try:
        from machine import RTC
    except ImportError:
        return "system"
    floor = _floor()
    now, source = _unix_time(), "system"
    if now < floor or not host:
        now, source = max(now, floor), "floor"
    if host:
        for _ in range(3):
            feed()
            try:
                answer = _ask(host)
            except OSError:
                continue
            if answer >= floor:
                now, source = answer, "ntp"
                break
    if source != "system":
        t = time.gmtime(now - (946684800 if time.gmtime(0)[0] == 2000 else 0))
        RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))
    return source
