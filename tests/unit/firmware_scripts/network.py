"""A look-alike of MicroPython's `network` with one station that the test steers."""

STA_IF = 0


class _Station:
    def __init__(self):
        self.up = self.connected = False
        self.answers = True
        self.asked = []

    def active(self, up=None):
        if up is None:
            return self.up
        self.up = up
        self.connected = self.connected and up

    def connect(self, ssid, password=None):
        assert self.up, "connect before active"
        self.asked.append((ssid, password))
        self.connected = self.answers

    def disconnect(self):
        self.connected = False

    def isconnected(self):
        return self.connected


station = _Station()


def WLAN(kind):
    assert kind == STA_IF
    return station
