"""The way to a board: mpremote as an external tool, over a serial port, a pseudo-terminal or `rfc2217://`.

One code path for real and emulated boards. Every failure says what state things are in and what to do next.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from blindsight.errors import OneLine
from blindsight.hw.probe import missing, probe

BOARD = Path(__file__).resolve().parent / "board"


class LinkError(OneLine):
    """The board did not do what was asked; one line that says what to do next."""


def tool(name: str, package: str) -> str:
    """Path of a command line tool, beside this interpreter or on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise LinkError(f"{name} is not installed: pip install {package}")
    return found


def _answer(output: str) -> dict[str, Any] | None:
    """The object in the last line that begins with `@`; None where there is none, or it came damaged."""
    last = next((line for line in reversed(output.splitlines()) if line.startswith("@")), "")
    try:
        found = json.loads(last[1:])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class Link:
    """A board at `port`: `/dev/...`, `COM3`, or `rfc2217://host:port`. `seconds` bounds each exchange."""

    def __init__(self, port: str, seconds: float = 120) -> None:
        self.port, self.seconds = port.removeprefix("serial:"), seconds
        self._mpremote = tool("mpremote", "mpremote")
        self._answers = False

    def mpremote(self, *words: str, doing: str, seconds: float | None = None) -> str:
        """What mpremote prints; LinkError names what was being done."""
        if not self._answers:
            trouble = probe(self.port)
            if trouble:
                raise LinkError(trouble)
            self._answers = True
        command = [self._mpremote, "connect", self.port, *words]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                timeout=seconds or self.seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LinkError(
                f"{self.port}: no answer while {doing}: press reset or plug the board in again, then run the same command"
            ) from None
        if done.returncode == 0:
            return done.stdout
        raise LinkError(self._explain(done.stdout + "\n" + done.stderr, doing))

    def local(self, *words: str, doing: str) -> str:
        """mpremote without a board."""
        done = subprocess.run(
            [self._mpremote, *words], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=self.seconds,
        )  # fmt: skip
        if done.returncode:
            raise LinkError(f"mpremote failed while {doing}: {(done.stdout + done.stderr).strip()[-200:]}")
        return done.stdout

    def _explain(self, output: str, doing: str) -> str:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        last = lines[-1] if lines else "no message"
        if any(w in output for w in ("failed to access", "no device found", "could not open port")):
            return missing(self.port)
        board_error = "Traceback" in output and "mpremote" not in output
        if board_error:
            return f"{self.port}: the board failed while {doing}: {last}"
        return f"{self.port}: the board went away while {doing} ({last[:80]}): plug it in again, run the same command"

    def call(self, script: str, doing: str, seconds: float | None = None, **args: Any) -> dict[str, Any]:
        """Runs a script of hw/board with ARGS on the board; the object it prints after `@`."""
        source = (BOARD / f"{script}.py").read_text()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{script}.py"
            path.write_text(f"import json\nARGS = json.loads({json.dumps(args)!r})\n{source}")
            output = self.mpremote("run", str(path), doing=doing, seconds=seconds)
        found = _answer(output)
        if found is not None:
            return found
        raise LinkError(f"{self.port}: the board gave no result while {doing}: run the same command again")

    def inspect(
        self, *folders: str, files: tuple[str, ...] = (), read: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """`platform`, `version`, `mpy`, `uid`, `mhz`, `heap`; SHA-256 of `files`; text of the files to `read`."""
        return self.call(
            "inspect", "looking at it", folders=list(folders), files=list(files), read=list(read)
        )

    def put(self, files: dict[str, bytes], doing: str) -> None:
        """Copies files to absolute paths whose folders exist or are made; not atomic: write beside what is in use."""
        if not files:
            return
        folders: list[str] = []
        for path in files:
            parts = path.strip("/").split("/")[:-1]
            for n in range(len(parts)):
                name = "/" + "/".join(parts[: n + 1])
                if name not in folders:
                    folders.append(name)
        make = f"import os\nfor p in {folders!r}:\n try: os.mkdir(p)\n except OSError: pass"
        with tempfile.TemporaryDirectory() as temporary:
            words = ["exec", make]
            for n, (path, data) in enumerate(files.items()):
                local = Path(temporary) / str(n)
                local.write_bytes(data)
                words += ["+", "fs", "cp", str(local), f":{path}"]
            self.mpremote(*words, doing=doing, seconds=self.seconds + 2 * len(files))

    def commit(
        self, doing: str, hashes: dict[str, str], moves: list[tuple[str, str]] | None = None,
        copies: list[tuple[str, str]] | None = None, remove: list[str] | None = None,
        write: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Checks and puts into place in one program on the board (board/commit.py)."""
        done = self.call(
            "commit", doing, hashes=hashes, moves=moves or [], copies=copies or [], remove=remove or [],
            write=write or {},
        )  # fmt: skip
        if done["bad"]:
            raise LinkError(
                f"{self.port}: {done['bad']} arrived damaged; nothing was changed; run the same command again"
            )
