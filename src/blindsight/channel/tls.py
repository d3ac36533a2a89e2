"""Channels over TLS 1.3 with mutual authentication: each end shows a certificate of the deployment's own CA.

The TLS engine runs on memory buffers over `SocketTransport`, in one thread: OpenSSL connections may not be read and written by two
threads at once, and this way a sender still reads while it waits.
"""

import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.channel.base import ChannelError, PeerClosed, ProtocolError
from blindsight.channel.framing import FramedChannel
from blindsight.channel.tcp import SocketTransport, TcpListener, connect_socket

_CHUNK = 1 << 18


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of one end: the CA that signs both servers, this end's certificate chain and private key.

    `peer_name` is the DNS name the peer's certificate must carry; it keeps a device's or a colleague's certificate of
    the same CA from posing as the other server.
    """

    ca: Path
    certificate: Path
    key: Path
    peer_name: str
    password: Callable[[], bytes] | None = None  # opens a key that is encrypted

    def context(self, server: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        for path in (self.ca, self.certificate, self.key):
            if not Path(path).is_file():
                raise ChannelError(f"no such file: {path}; make the certificates with `blindsight keys init`")
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.certificate, self.key, self.password)
        except (ssl.SSLError, OSError) as error:
            raise ChannelError(f"cannot load the TLS files beside {self.certificate}: {error}") from None
        return context


class TlsTransport:
    """A TLS session over a `SocketTransport`."""

    def __init__(self, raw: SocketTransport, files: TlsFiles, server: bool) -> None:
        self._raw = raw
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else files.peer_name
        self._tls = files.context(server).wrap_bio(self._in, self._out, server, name)
        try:
            self._run(self._tls.do_handshake)
            self._flush()
            if server:
                # The client's certificate is judged here; a first byte from it is only read after.
                self._check_name(files.peer_name)
        except ChannelError:
            raw.close()
            raise

    def _check_name(self, name: str) -> None:
        cert: dict[str, Any] = dict(self._tls.getpeercert() or {})
        names = [value for kind, value in cert.get("subjectAltName", ()) if kind == "DNS"]
        if name not in names:
            raise ProtocolError(f"the peer's certificate is for {names}, not for {name!r}")

    def _flush(self) -> None:
        if self._out.pending:
            self._raw.send([memoryview(self._out.read())])

    def _run(self, step: Any, *args: Any) -> Any:
        while True:
            try:
                return step(*args)
            except ssl.SSLWantReadError:
                self._flush()
                chunk = bytearray(_CHUNK)
                n = self._raw.recv_some(memoryview(chunk))
                self._in.write(memoryview(chunk)[:n])
            except ssl.SSLZeroReturnError:
                raise PeerClosed("the peer closed the connection") from None
            except ssl.SSLError as error:
                # The alert that tells the peer why is in the outgoing buffer.
                with contextlib.suppress(ChannelError):
                    self._flush()
                why = getattr(error, "verify_message", "") or error.reason or "TLS failure"
                raise ProtocolError(f"TLS refused the peer: {why}") from None

    def send(self, parts: list[memoryview]) -> None:
        for part in parts:
            while part.nbytes:
                n = self._run(self._tls.write, part[:_CHUNK])
                part = part[n:]
                self._flush()

    def recv_into(self, view: memoryview) -> None:
        while view.nbytes:
            n = self._run(self._tls.read, view.nbytes, view)
            if n == 0:
                raise PeerClosed("the peer closed the connection")
            view = view[n:]

    def close(self) -> None:
        self._raw.close()


class TlsListener(TcpListener):
    """A listening socket whose connections must authenticate."""

    def __init__(self, host: str, port: int, party: int, timeout: float, files: TlsFiles) -> None:
        files.context(server=True)
        super().__init__(host, port, party, timeout)
        self._files = files

    def accept(self, hello: dict[str, Any] | None = None, wait: float | None = None) -> FramedChannel:
        """Raises ProtocolError for a peer without the right certificate; the listener stays usable."""
        raw = SocketTransport(self.accept_socket(wait), self._timeout)
        channel = FramedChannel(TlsTransport(raw, self._files, server=True), self._party)
        channel.handshake(hello or {})
        return channel


def tls_listen(party: int, files: TlsFiles, host: str, port: int, timeout: float = 60.0) -> TlsListener:
    """Listen for the other server with mutual TLS 1.3."""
    return TlsListener(host, port, party, timeout, files)


def tls_connect(
    party: int,
    files: TlsFiles,
    host: str,
    port: int,
    hello: dict[str, Any] | None = None,
    timeout: float = 60.0,
    retry_for: float = 0.0,
) -> FramedChannel:
    """Connect to the other server with mutual TLS 1.3."""
    raw = SocketTransport(connect_socket(host, port, timeout, retry_for), timeout)
    channel = FramedChannel(TlsTransport(raw, files, server=False), party)
    channel.handshake(hello or {})
    return channel
