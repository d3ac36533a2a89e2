"""What only a board has (radio, Wi-Fi, clock, watchdog, deep sleep), against look-alikes of its modules."""

import calendar
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "firmware_scripts"


@contextmanager
def _ntp(unix: int | None) -> Iterator[int]:
    """An SNTP server on a port of 127.0.0.1 that always tells the same time, or never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    query, peer = sock.recvfrom(64)
                except OSError:
                    return
                if len(query) == 1:
                    return
                assert len(query) == 48 and query[0] & 7 == 3
                if unix is not None:
                    stamp = struct.pack("!I", (unix + 2208988800) & 0xFFFFFFFF)
                    sock.sendto(b"\x24\x02" + bytes(38) + stamp + bytes(4), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = sock.getsockname()[1]
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"x", ("127.0.0.1", port))
            thread.join()


def test_board_modules() -> None:
    good = calendar.timegm((2030, 6, 1, 12, 30, 45))
    early = calendar.timegm((2020, 1, 1, 0, 0, 0))
    with _ntp(good) as a, _ntp(early) as b, _ntp(None) as c:
        command = [Path(sys.executable).with_name("micropython"), "-X", "heapsize=2m", SCRIPTS / "board.py"]
        args = [ROOT / "device_fw/app", SCRIPTS, a, b, c]
        done = subprocess.run([str(x) for x in (*command, *args)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "ok\n", done.stdout + done.stderr
