"""Broker, cloud and helper as services on this machine, and pictures sent to them over MQTT from Python.

The same commands set up two machines of two operators: docs/howto/deploy.md.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import blindsight

COMMAND = [sys.executable, "-m", "blindsight.app.cli"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def service(log: Path, *arguments: str) -> Iterator[None]:
    """`blindsight ARGUMENTS` in the background, ended with the block."""
    with open(log, "wb") as out, subprocess.Popen([*COMMAND, *arguments], stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()


def wait(log: Path, text: bytes, seconds: float = 120) -> None:
    """Until the log says so."""
    deadline = time.monotonic() + seconds
    while text not in log.read_bytes():
        if time.monotonic() > deadline:
            sys.exit(f"{log.name} does not say {text!r}: {log.read_text()[-500:]}")
        time.sleep(0.1)


async def send(folder: Path) -> None:
    """What a program of yours would do: open the sender's directory, send, await."""
    pictures, classes = blindsight.sample_pictures("fashion", 4)
    async with blindsight.SecureClient(folder) as client:
        answers = await asyncio.gather(*(client.classify(picture, timeout=120) for picture in pictures))
    for answer, truth in zip(answers, [] if classes is None else classes, strict=True):
        print(f"{answer.label} (class {truth}): {answer.latency_s:.2f} s, {answer.bytes_up:,} bytes sent")


def main() -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site, broker, link = folder / "site", free_port(), free_port()
        stack.enter_context(service(folder / "broker", "broker", "run", "--port", str(broker)))
        ports = ["--broker-port", str(broker), "--link-port", str(link)]
        subprocess.run([*COMMAND, "keys", "init", str(site), "--model", "fashion", *ports], check=True)
        device = ["laptop", "--site", str(site), "--model", "fashion", "--mode", "rlwe-sk"]
        subprocess.run([*COMMAND, "keys", "device", *device], check=True)
        for name in ("helper", "cloud"):
            stack.enter_context(service(folder / name, name, "--config", str(site / f"{name}.toml")))
        wait(folder / "cloud", b"material-made")  # the first offline material is there
        asyncio.run(send(site / "devices" / "laptop"))


if __name__ == "__main__":
    main()
