"""A look-alike of MicroPython's `machine`: records what a board would do."""

calls = []


class RTC:
    at = None

    def datetime(self, when):
        RTC.at = when


class WDT:
    made = []
    fed = []

    def __init__(self, timeout):
        WDT.made.append(timeout)

    def feed(self):
        WDT.fed.append(1)


def deepsleep(ms):
    calls.append("deepsleep " + str(ms))
    raise SystemExit


def reset():
    calls.append("reset")
    raise SystemExit
