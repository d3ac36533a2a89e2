"""Secrets at rest: files that their owner alone can read, and may be sealed under a passphrase.

Adversary: another user of the machine (the mode check), and whoever gets hold of a disk or a backup (the seal).
Nothing here protects against the machine's own administrator, nor once the service has the secret in memory.
A sealed file is Argon2id (RFC 9106) over the passphrase and XChaCha20-Poly1305 over the contents, the parameters
bound as associated data: `BSSEAL1\\n` || u32 passes || u32 KiB || salt (16) || nonce (24) || ciphertext and tag.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from nacl import bindings, exceptions, pwhash

from blindsight.errors import OneLine
from blindsight.offline.cursor import write_durably

MAGIC = b"BSSEAL1\n"
PASSPHRASE_FILE = (
    "BLINDSIGHT_PASSPHRASE_FILE"  # environment: where the services find it (systemd: LoadCredential)
)
MAX_SECRET = 1 << 20
_COST = struct.Struct("<II")
_SALT, _NONCE, _TAG = 16, 24, 16
_HEAD = len(MAGIC) + _COST.size + _SALT
PASSES, KIB = 3, 1 << 18  # 256 MiB
MAX_PASSES, MAX_KIB = 16, 1 << 20


class SecretError(OneLine):
    """The file cannot be used; one line that names the fix and holds nothing of the secret."""


def require_private(path: Path) -> None:
    """`SecretError` where anybody but the owner can read or write the file. A file of another user's (a secret that an
    orchestrator mounts) may be readable for its group, which is then how this process gets at it.
    """
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & (0o077 if found.st_uid == os.geteuid() else 0o037):
        raise SecretError(f"{path} is open to others (mode {mode:o}); chmod 600 {path}")


def read_secret(path: Path, size: int | None = None, passphrase: bytes | None = None) -> bytes:
    """The contents of a secret file of mode 0600, opened if it is sealed; exactly `size` bytes where given.

    `passphrase`: of a sealed file; None asks the file that $BLINDSIGHT_PASSPHRASE_FILE names. Raises `OSError` where
    the file is missing, `SecretError` otherwise.
    """
    require_private(path)
    with path.open("rb") as file:
        data = file.read(MAX_SECRET + 1)
    if len(data) > MAX_SECRET:
        raise SecretError(f"{path} is over {MAX_SECRET} bytes: not a secret file")
    if data.startswith(MAGIC):
        data = unseal(data, passphrase if passphrase is not None else given_passphrase(str(path)), str(path))
    if size is not None and len(data) != size:
        raise SecretError(f"{path} holds {len(data)} bytes, not {size}")
    return data


def read_text(path: Path) -> str:
    """A secret file as text: a password. Raises as `read_secret`, and `SecretError` where it is no UTF-8."""
    try:
        return read_secret(path).decode()
    except UnicodeDecodeError:
        raise SecretError(f"{path} is no UTF-8 text: write the password into it, on one line") from None


def given_passphrase(what: str) -> bytes:
    """The passphrase of the file that $BLINDSIGHT_PASSPHRASE_FILE names."""
    named = os.environ.get(PASSPHRASE_FILE)
    if not named:
        raise SecretError(f"{what} is sealed: name the passphrase's file in {PASSPHRASE_FILE}")
    return read_passphrase(Path(named))


def read_passphrase(path: Path) -> bytes:
    """The first line of a file of mode 0600."""
    try:
        require_private(path)
        line = path.read_bytes().split(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}; it should hold the passphrase, on one line") from None
    if not line:
        raise SecretError(f"{path} is empty; it should hold the passphrase, on one line")
    return line


def key_password(key: Path) -> Callable[[], bytes]:
    """For `SSLContext.load_cert_chain`: what opens a PEM key that is sealed (asked for only then). `SecretError` where
    others can read the key.
    """
    require_private(key)
    return lambda: given_passphrase(str(key))


def is_sealed(data: bytes) -> bool:
    """Whether these are the contents of a sealed file."""
    return data.startswith(MAGIC)


def is_sealed_key(data: bytes) -> bool:
    """Whether these are the contents of a sealed PEM private key (encrypted PKCS #8)."""
    return b"-----BEGIN ENCRYPTED" in data


def seal(data: bytes, passphrase: bytes, passes: int = PASSES, kib: int = KIB) -> bytes:
    """The sealed form of `data`; salt and nonce are fresh."""
    if not passphrase:
        raise SecretError("an empty passphrase seals nothing")
    head = MAGIC + _COST.pack(passes, kib) + os.urandom(_SALT)
    nonce = os.urandom(_NONCE)
    key = _stretch(head, passphrase)
    return head + nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(data, head, nonce, key)


def unseal(data: bytes, passphrase: bytes, what: str = "the file") -> bytes:
    """The contents; `SecretError` where the passphrase is wrong or the file was altered."""
    if not data.startswith(MAGIC) or len(data) < _HEAD + _NONCE + _TAG:
        raise SecretError(f"{what} is not a sealed file, or cut short")
    head, nonce, body = data[:_HEAD], data[_HEAD : _HEAD + _NONCE], data[_HEAD + _NONCE :]
    passes, kib = _COST.unpack_from(head, len(MAGIC))
    if not (1 <= passes <= MAX_PASSES and 8 <= kib <= MAX_KIB):
        raise SecretError(f"{what}: its cost ({passes} passes, {kib} KiB) is out of range")
    try:
        return bytes(
            bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(body, head, nonce, _stretch(head, passphrase))
        )
    except exceptions.CryptoError:
        raise SecretError(f"{what} does not open: wrong passphrase, or the file was altered") from None


def _stretch(head: bytes, passphrase: bytes) -> bytes:
    passes, kib = _COST.unpack_from(head, len(MAGIC))
    return bytes(pwhash.argon2id.kdf(32, passphrase, head[-_SALT:], opslimit=passes, memlimit=kib * 1024))


def seal_file(path: Path, passphrase: bytes) -> None:
    """Seals a secret file in place, durably; a PEM private key becomes an encrypted PKCS #8 one (PBES2), which TLS
    libraries open themselves.
    """
    require_private(path)
    data = path.read_bytes()
    if is_sealed(data) or is_sealed_key(data):
        raise SecretError(f"{path} is sealed already")
    if b"-----BEGIN" in data:
        write_durably(path, _pem(data, None, serialization.BestAvailableEncryption(passphrase), path))
    else:
        write_durably(path, seal(data, passphrase))


def as_kept(path: Path, data: bytes) -> bytes:
    """`data` in the form that the file `path` has its contents in: sealed under the same passphrase where it is sealed."""
    now = path.read_bytes()
    if is_sealed(now):
        return seal(data, given_passphrase(str(path)))
    if is_sealed_key(now):
        return _pem(data, None, serialization.BestAvailableEncryption(given_passphrase(str(path))), path)
    return data


def unseal_file(path: Path, passphrase: bytes) -> None:
    """The reverse of `seal_file`."""
    require_private(path)
    data = path.read_bytes()
    if is_sealed_key(data):
        write_durably(path, _pem(data, passphrase, serialization.NoEncryption(), path))
    else:
        write_durably(path, unseal(data, passphrase, str(path)))


def _pem(
    data: bytes, passphrase: bytes | None, how: serialization.KeySerializationEncryption, path: Path
) -> bytes:
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except (ValueError, TypeError):
        raise SecretError(f"{path} does not open: wrong passphrase, or not a private key") from None
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
