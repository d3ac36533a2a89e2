"""Run by MicroPython with look-alikes of `network` and `machine`: radio, entropy, Wi-Fi, clock, watchdog, sleep.

argv: app directory, directory of the look-alikes, NTP port (good), NTP port (too early), NTP port (silent).
"""

import sys
import time

sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[2])
from bsdev import keys, net, power

import machine
import network


def fails(f, *args):
    try:
        f(*args)
    except OSError as e:
        return str(e)
    raise AssertionError("no error")


def nothing():
    fed.append(1)


fed = []
station = network.station


# --- entropy: refused while the radio is off, on a port whose generator needs it
class Esp:
    platform = "esp32"


net.sys = Esp
drbg = keys.Drbg(net.radio_on, keys.Stream())
assert not net.radio_on()
assert "radio" in fails(drbg.draw)
station.active(True)
draws = [drbg.draw() for _ in range(50)]
assert len({seed for seed, _ in draws}) == len({tail for _, tail in draws}) == 50
assert all(len(seed) == 32 and len(tail) == 8 for seed, tail in draws)


class Stuck:
    @staticmethod
    def urandom(n):
        return bytes(n)


good, keys.os = keys.os, Stuck
assert "entropy" in fails(drbg.draw)
keys.os = good
station.active(False)
assert "radio" in fails(drbg.draw)

# --- Wi-Fi
wifi = {"ssid": "home", "password": "secret"}
assert not net.joined(wifi)
station.answers = False
assert "home" in fails(net.join, wifi, nothing, 1) and fed
station.answers = True
net.join(wifi, nothing, 1)
assert net.joined(wifi) and station.asked[-1] == ("home", "secret") and net.radio_on()
asked = len(station.asked)
net.join(wifi, nothing, 1)
assert len(station.asked) == asked, "already joined"
station.disconnect()
net.join(wifi, nothing, 1)
assert net.joined(wifi) and len(station.asked) == asked + 1
net.join({}, nothing)

# --- clock
good, early, silent = ("127.0.0.1:" + p for p in sys.argv[3:6])


class Clock:
    """A board that woke in 1970."""

    now = 5
    gmtime, ticks_ms, sleep_ms = time.gmtime, time.ticks_ms, time.sleep_ms

    @staticmethod
    def time():
        return Clock.now


net.time = Clock
net.NTP_TIMEOUT_S = 0.3
assert net.set_clock(good, nothing) == "ntp"
assert machine.RTC.at[:3] == (2030, 6, 1) and machine.RTC.at[4:7] == (12, 30, 45)
assert net.set_clock(early, nothing) == "floor", "an answer before the build date is not believed"
assert machine.RTC.at[:3] == net.BUILT
assert net.set_clock(silent, nothing) == "floor"
assert net.set_clock("", nothing) == "floor"
Clock.now = net._floor() + 86400
machine.RTC.at = None
assert net.set_clock(silent, nothing) == "system" and machine.RTC.at is None

# --- power
feed = power.watchdog(7)
feed()
assert machine.WDT.made == [7000] and machine.WDT.fed == [1]
assert power.watchdog(0)() is None
for action, want in ((lambda: power.deep_sleep(3), "deepsleep 3000"), (power.reboot, "reset")):
    try:
        action()
        raise AssertionError("came back")
    except SystemExit:
        assert machine.calls.pop() == want
print("ok")
