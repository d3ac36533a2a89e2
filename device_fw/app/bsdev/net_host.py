"""net.py for ports whose operating system has the network, the clock and the entropy (unix)."""


def radio_on():
    return True


def rssi():
    return None


def join(wifi, feed):
    pass


def set_clock(host, feed):
    return "system"
