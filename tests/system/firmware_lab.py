"""What the firmware's tests stand on: provisioned directories, device processes, a small broker, two servers in one.

Insecure by design: `Servers` holds every key and decrypts in the clear with the reference arithmetic of
tests/vectors/make_device.py, to say exactly which pixels a device sent.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from leash import leashed

from blindsight.wire import blocks, keys, manifest, result, topics

ROOT = Path(__file__).parents[2]
APP = ROOT / "device_fw" / "app"
MICROPYTHON = str(Path(sys.executable).with_name("micropython"))


def _reference() -> Any:
    spec = importlib.util.spec_from_file_location("make_device", ROOT / "tests/vectors/make_device.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ref = _reference()
MASTER = bytes(range(32))
EPOCH = 3
LABELS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibex", "jay"]


def label_of(pixels: bytes) -> int:
    """The stand-in for a network: a class that depends on every pixel."""
    return sum((i + 1) * p for i, p in enumerate(pixels)) % len(LABELS)


class Provision:
    """A device directory and what the helper would know of it."""

    def __init__(self, path: Path, device: str = "cam-1", mode: str = "rlwe", **settings: Any) -> None:
        self.path, self.device, self.mode = path, device, mode
        self.secret = keys.device_secret(MASTER, device, EPOCH)
        self.s, self.pk = ref.keygen(keys.rlwe_secret_seed(MASTER, device, EPOCH))
        self.plan_hash = bytes(range(100, 132))
        config = {
            "device": device, "epoch": EPOCH, "model": "toy", "plan_hash": self.plan_hash.hex(),
            "labels": LABELS, "reveal": "top1", "output_scale_bits": 8, "mode": mode,
            "height": 32, "width": 32, "channels": 3, "polys_per_block": 2,
            "broker": {"host": "127.0.0.1", "port": 1, "tls": False},
            "camera": {"kind": "replay", "path": "frames.bin"},
            "interval_s": 0, "count": 1, "backoff_s": 0.05, "backoff_max_s": 0.2,
            "retry_s": 0.3, "retry_max_s": 1, "timeout_s": 5,
        }  # fmt: skip
        config.update(settings)
        self.config = config
        self.shape = (config["height"], config["width"], config["channels"])
        path.mkdir(parents=True, exist_ok=True)
        (path / "secret.bin").write_bytes(self.secret)
        (path / "pk.bin").write_bytes(self.pk)
        self.frames: list[bytes] = []
        self.write()

    def write(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config))

    def set_frames(self, count: int, seed: int = 1) -> list[bytes]:
        """Random frames of the model's shape for the replay camera."""
        rng = np.random.default_rng(seed)
        size = self.shape[0] * self.shape[1] * self.shape[2]
        self.frames = [rng.integers(0, 256, size, dtype=np.uint8).tobytes() for _ in range(count)]
        (self.path / "frames.bin").write_bytes(b"".join(self.frames))
        return self.frames


def _unpack(data: bytes, width: int, count: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * width]
    return (bits.reshape(count, width).astype(np.int64) << np.arange(width)).sum(axis=1)


class Servers:
    """Cloud and helper: checks and decrypts what arrives, answers each picture once.

    reply(image, kind) -> bool decides whether a receipt (1) or result (2) is sent now; withheld ones go out when the
    manifest comes again.
    """

    def __init__(self, *provisions: Provision, reply: Callable[[str, int], bool] | None = None) -> None:
        self.devices = {p.device: p for p in provisions}
        self.reply = reply or (lambda image, kind: True)
        self.blocks: dict[str, dict[int, bytes]] = {}
        self.manifests: dict[str, bytes] = {}
        self.pixels: dict[str, bytes] = {}
        self.answers: dict[str, bytes] = {}
        self.refuse: Callable[[str], result.Failure | None] = lambda image: None
        self.status: dict[str, dict[str, Any]] = {}
        self.duplicates = 0
        self.largest = 0

    def receive(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        """What goes down in answer to one message."""
        what = topics.parse(topic)
        if isinstance(what, topics.Status):
            self.status[what.device] = json.loads(payload)
            assert len(payload) < 512
            return []
        image = what.image.hex()
        self.largest = max(self.largest, len(payload))
        assert len(payload) < 65536
        if isinstance(what, topics.Block):
            held = self.blocks.setdefault(image, {})
            if what.block in held:
                self.duplicates += 1
            # fresh randomness under a used seed would show here as other bytes for the same block
            assert held.setdefault(what.block, payload) == payload, "a block was resent with other bytes"
            return []
        if image in self.manifests:
            self.duplicates += 1
        assert self.manifests.setdefault(image, payload) == payload, "a manifest was resent with other bytes"
        return self._answer(self.devices[what.device], what.image)

    def _answer(self, device: Provision, image: bytes) -> list[tuple[str, bytes]]:
        down = topics.down(device.device, image)
        failure = self.refuse(image.hex())
        if failure:
            return [(down, failure.encode())]
        signed, salt = manifest.split_salt(self.manifests[image.hex()])
        m = manifest.parse(signed)
        held = self.blocks.get(image.hex(), {})
        if sorted(held) != list(range(m.layout.blocks)):
            return []
        digest = manifest.manifest_hash(signed)
        name = image.hex()
        if name not in self.pixels:
            self._check(device, m, signed, salt, held)
            pixels, base = self._decrypt(device, m, held)
            self.pixels[name] = pixels
            key = keys.result_key(base, device.device, image, digest)
            self.answers[name] = self.make_result(device, image, digest, key, [label_of(pixels)], 1)
        out = []
        if self.reply(name, 1):
            out.append((down, result.Receipt(digest).encode()))
        if self.reply(name, 2):
            out.append((down, self.answers[name]))
        return out

    def make_result(
        self, device: Provision, image: bytes, digest: bytes, key: bytes, values: list[int], attempt: int,
        seal_attempt: int | None = None,
    ) -> bytes:  # fmt: skip
        """A result message; seal_attempt binds the helper's share to another attempt (negative test)."""
        reveal = result.Reveal.named(device.config["reveal"])
        context = result.Context(
            device.device, image, digest, device.plan_hash, reveal, seal_attempt or attempt
        )
        total = np.array([v % (1 << 32) for v in values], np.uint32)
        helper = np.frombuffer(os.urandom(4 * len(values)), np.uint32)
        sealed = result.seal(key, context, helper)
        return result.Result(attempt, reveal, (total - helper).astype(np.uint32), sealed).encode()

    @staticmethod
    def _check(
        device: Provision, m: manifest.Manifest, signed: bytes, salt: bytes, held: dict[int, bytes]
    ) -> None:
        assert manifest.verify(signed, keys.manifest_key(device.secret))
        rlwe = m.mode is blocks.Mode.RLWE
        expected = keys.key_id_public(device.pk) if rlwe else keys.key_id_epoch(device.device, EPOCH)
        assert m.key_id == expected and m.model == "toy" and m.plan_hash == device.plan_hash
        assert (m.height, m.width, m.channels) == device.shape and m.device == device.device
        for j, data in held.items():
            assert len(data) == m.layout.block_bytes(j)
            assert blocks.commitment(salt, j, data) == m.commitments[j]
            if m.mode is not blocks.Mode.AES:
                assert m.layout.c1_hash(m.layout.split(j, data)) == m.c1_hashes[j]

    @staticmethod
    def _decrypt(device: Provision, m: manifest.Manifest, held: dict[int, bytes]) -> tuple[bytes, bytes]:
        """(pixels, result base)."""
        out = bytearray()
        base = keys.result_base(device.secret)
        shared = ref.ternary(keys.shared_rlwe_seed(device.secret), 16, 0)
        ntt_s = ref.ntt(device.s if m.mode is blocks.Mode.RLWE else shared)
        for j in sorted(held):
            for k, data in zip(m.layout.polys_of(j), m.layout.split(j, held[j]), strict=True):
                used = m.layout.used(k)
                if m.mode is blocks.Mode.AES:
                    out += ref.aes_ctr(keys.aes_key(device.secret), m.nonce, 64 * k, data)
                    continue
                if m.mode is blocks.Mode.RLWE:
                    a = ref.ntt(((_unpack(data[:2304], 18, 1024) << 8) + 128) % ref.Q)
                    c0 = (_unpack(data[2304:], 12, used) << 14) + (1 << 13)
                else:
                    a = ref.uniform(data[:32])
                    c0 = (_unpack(data[32:], 11, used) << 15) + (1 << 14)
                v = (c0 + ref.intt(a * ntt_s)[:used]) % ref.Q
                x = (v + ref.DELTA // 2) // ref.DELTA
                out += (x % 256).astype(np.uint8).tobytes()
        pixels = bytes(out[: m.layout.pixels])
        return pixels, bytes(out[m.layout.pixels :][:32]) if m.mode is blocks.Mode.RLWE else base


def remaining(n: int) -> bytes:
    out = b""
    while True:
        n, low = n >> 7, n & 127
        out += bytes([low | (128 if n else 0)])
        if not n:
            return out


class Broker:
    """An MQTT 3.1.1 broker for one or more devices and one in-process server; persistent sessions, QoS 1.

    fault(kind, detail) is asked at each incoming packet ("connect", "subscribe", topic of a publish, "puback", "ping")
    and returns None, "before" (close the connection, packet not taken) or "after" (taken, not acknowledged, closed).
    """

    def __init__(self, receive: Callable[[str, bytes], list[tuple[str, bytes]]]) -> None:
        self.receive = receive
        self.fault: Callable[[str], str | None] = lambda what: None
        self.sessions: dict[str, dict[int, tuple[str, bytes]]] = {}
        self.connections = 0
        self.duplicates: list[str] = []
        self.wills: list[str] = []
        self.errors: list[BaseException] = []
        self._sockets: dict[str, socket.socket] = {}
        self._lock = threading.RLock()
        self._pid = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def close(self) -> None:
        self._server.close()
        self.cut()
        if self.errors:
            raise self.errors[0]

    def cut(self) -> None:
        """Close every connection."""
        with self._lock:
            for sock in self._sockets.values():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()

    def send(self, device: str, topic: str, payload: bytes) -> None:
        """Queue a QoS 1 message for a device and deliver it when it is connected."""
        with self._lock:
            self._pid = self._pid % 65535 + 1
            self.sessions.setdefault(device, {})[self._pid] = (topic, payload)
            self._deliver(device, self._pid, False)

    def _deliver(self, device: str, pid: int, again: bool) -> None:
        sock = self._sockets.get(device)
        if sock is None:
            return
        topic, payload = self.sessions[device][pid]
        body = struct.pack("!H", len(topic)) + topic.encode() + struct.pack("!H", pid) + payload
        try:
            sock.sendall(bytes([0x3A if again else 0x32]) + remaining(len(body)) + body)
        except OSError:
            self._sockets.pop(device, None)

    @staticmethod
    def _exact(sock: socket.socket, n: int) -> bytes:
        out = b""
        while len(out) < n:
            got = sock.recv(n - len(out))
            if not got:
                raise OSError("closed")
            out += got
        return out

    def _packet(self, sock: socket.socket) -> tuple[int, bytes]:
        kind = self._exact(sock, 1)[0]
        n = shift = 0
        while True:
            b = self._exact(sock, 1)[0]
            n |= (b & 127) << shift
            shift += 7
            if not b & 128:
                return kind, self._exact(sock, n)

    def _serve(self, sock: socket.socket) -> None:
        device, clean = "", False
        try:
            while not clean:
                kind, body = self._packet(sock)
                if kind == 0x10:
                    assert body[:7] == b"\x00\x04MQTT\x04" and not body[7] & 2, "clean session asked for"
                    assert body[7] & 0x3C == 0x2C, "last will: QoS 1, retained"
                    n = struct.unpack("!H", body[10:12])[0]
                    device = body[12 : 12 + n].decode()
                    if self.fault("connect"):
                        break
                    with self._lock:
                        present = device in self.sessions
                        sock.sendall(bytes([0x20, 2, int(present), 0]))
                        self._sockets[device] = sock
                        for pid in list(self.sessions.setdefault(device, {})):
                            self._deliver(device, pid, True)
                elif kind == 0x82:
                    fault = self.fault("subscribe")
                    if fault:
                        break
                    count = body.count(b"\x01", 2)
                    assert count >= 1
                    sock.sendall(b"\x90\x04" + body[:2] + b"\x01\x01")
                elif kind & 0xF0 == 0x30:
                    clean = self._publish(sock, device, kind, body)
                elif kind == 0x40:
                    if self.fault("puback"):
                        break
                    with self._lock:
                        # of a session that a test took away meanwhile, it acknowledges nothing
                        self.sessions.get(device, {}).pop(struct.unpack("!H", body)[0], None)
                elif kind == 0xC0:
                    if self.fault("ping"):
                        break
                    sock.sendall(b"\xd0\x00")
                elif kind == 0xE0:
                    clean = True
        except OSError:
            pass
        except BaseException as e:
            self.errors.append(e)
        if not clean:
            self.wills.append(device)
        with self._lock:
            if self._sockets.get(device) is sock:
                del self._sockets[device]
        sock.close()

    def _publish(self, sock: socket.socket, device: str, kind: int, body: bytes) -> bool:
        n = struct.unpack("!H", body[:2])[0]
        topic, pid = body[2 : 2 + n].decode(), body[2 + n : 4 + n]
        assert kind & 6 == 2, "publishes are QoS 1"
        if kind & 8:
            self.duplicates.append(topic)
        fault = self.fault(topic)
        if fault == "before":
            sock.close()
            raise OSError("fault")
        answers = self.receive(topic, body[4 + n :])
        if fault == "after":
            sock.close()
        else:
            sock.sendall(b"\x40\x02" + pid)
        for down, payload in answers:
            self.send(device, down, payload)
        return False


class Device:
    """One firmware process under the unix port; its events as they come. `reap` ends those a failed test left."""

    started: ClassVar[list[Device]] = []

    @classmethod
    def reap(cls) -> None:
        while cls.started:
            cls.started.pop().kill()

    def __init__(
        self, directory: Path, heap: str = "128k", main: Path | None = None, args: tuple[str, ...] = ()
    ):
        command = [MICROPYTHON, "-X", f"heapsize={heap}", str(main or APP / "main.py"), str(directory), *args]
        self.process = subprocess.Popen(
            leashed(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.started.append(self)
        self.events: list[dict[str, Any]] = []
        self.stderr = ""
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._out, self._err)]
        for t in self._threads:
            t.start()

    def _out(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))
            else:
                self.stderr += line

    def _err(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.stderr += line

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == kind]

    def wait_for(self, kind: str, count: int = 1, seconds: float = 60) -> list[dict[str, Any]]:
        end = time.monotonic() + seconds
        while len(self.of(kind)) < count:
            if time.monotonic() > end or (
                self.process.poll() is not None and not self._threads[0].is_alive()
            ):
                raise AssertionError(f"no {count} x {kind}: {self.events} {self.stderr}")
            time.sleep(0.01)
        return self.of(kind)

    def wait(self, seconds: float = 90) -> int:
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running: {self.events} {self.stderr}") from None
        self._join()
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._join()

    def _join(self) -> None:
        for t in self._threads:
            t.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()
