"""Secret files: only their owner's, sealed under a passphrase where wanted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from nacl import pwhash

from blindsight.app import certificates, identities
from blindsight.app.site import Site
from blindsight.channel import ChannelError, TlsFiles
from blindsight.helper.keys import KeyFault, new_master, read_master
from blindsight.service import secretfile
from blindsight.service.secretfile import SecretError, key_password, read_secret, seal, unseal


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is in the file's header; tests of everything else pay the least."""
    monkeypatch.setattr(secretfile, "PASSES", 1)
    monkeypatch.setattr(secretfile, "KIB", 8)
    monkeypatch.setattr(seal, "__defaults__", (1, 8))


def passphrase(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = "correct horse") -> Path:
    path = folder / "passphrase"
    path.write_text(text + "\n")
    path.chmod(0o600)
    monkeypatch.setenv(secretfile.PASSPHRASE_FILE, str(path))
    return path


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o602, 0o644, 0o777])
def test_files_open_to_others_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    new_master(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(mode)
    with pytest.raises(SecretError, match=f"mode {mode:o}.*chmod 600"):
        read_secret(path, 32)
    with pytest.raises(KeyFault, match="chmod 600"):
        read_master(path)
    with pytest.raises(SecretError, match="chmod 600"):
        key_password(path)


def test_a_sealed_master_opens_with_its_passphrase_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "master.key"
    new_master(path)
    secret = path.read_bytes()
    secretfile.seal_file(path, b"correct horse")
    assert secret not in path.read_bytes() and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyFault, match=secretfile.PASSPHRASE_FILE):
        read_master(path)
    passphrase(tmp_path, monkeypatch, "wrong")
    with pytest.raises(KeyFault, match="wrong passphrase") as error:
        read_master(path)
    assert secret.hex() not in str(error.value) and "wrong\n" not in str(error.value)
    where = passphrase(tmp_path, monkeypatch)
    assert read_master(path) == secret
    where.chmod(0o644)
    with pytest.raises(KeyFault, match="chmod 600"):
        read_master(path)
    where.chmod(0o600)
    with pytest.raises(SecretError, match="sealed already"):
        secretfile.seal_file(path, b"again")
    secretfile.unseal_file(path, b"correct horse")
    assert path.read_bytes() == secret


def test_the_sealed_form() -> None:
    """Argon2id and XChaCha20-Poly1305 by their own functions; every altered byte is noticed; the cost is bounded."""
    sealed = seal(b"secret", b"p", 2, 16)
    head, nonce, body = sealed[:32], sealed[32:56], sealed[56:]
    assert head[:8] == b"BSSEAL1\n" and head[8:16] == (2).to_bytes(4, "little") + (16).to_bytes(4, "little")
    key = pwhash.argon2id.kdf(32, b"p", head[16:], opslimit=2, memlimit=16 * 1024)
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as open_

    assert open_(body, head, nonce, key) == b"secret" == unseal(sealed, b"p")
    assert seal(b"secret", b"p", 2, 16)[16:] != sealed[16:]
    for at in range(len(sealed)):
        with pytest.raises(SecretError):  # 8 to 15 are the cost: another key, or out of range; 64 MiB at most
            unseal(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], b"p")
    for cost in (b"\x11\0\0\0\x10\0\0\0", b"\x01\0\0\0\xff\xff\xff\x7f", bytes(8)):
        with pytest.raises(SecretError, match="out of range"):
            unseal(sealed[:8] + cost + sealed[16:], b"p")


def test_a_tls_key_is_sealed_as_pkcs8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = tmp_path / "tls"
    certificates.make(tls)
    files = TlsFiles(
        tls / "ca.pem",
        tls / "cloud.pem",
        tls / "cloud.key",
        "helper.blindsight",
        key_password(tls / "cloud.key"),
    )
    files.context(server=False)
    secretfile.seal_file(tls / "cloud.key", b"correct horse")
    serialization.load_pem_private_key((tls / "cloud.key").read_bytes(), b"correct horse")
    with pytest.raises(SecretError, match=secretfile.PASSPHRASE_FILE):
        files.context(server=False)
    passphrase(tmp_path, monkeypatch)
    files.context(server=False)
    passphrase(tmp_path, monkeypatch, "wrong")
    with pytest.raises(ChannelError, match="cannot load the TLS files"):
        files.context(server=False)
    secretfile.unseal_file(tls / "cloud.key", b"correct horse")
    monkeypatch.delenv(secretfile.PASSPHRASE_FILE)
    files.context(server=False)


def test_renewed_keys_stay_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates.make(tmp_path)
    secretfile.seal_file(tmp_path / "ca.key", b"correct horse")
    secretfile.seal_file(tmp_path / "cloud.key", b"correct horse")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(SecretError, match=secretfile.PASSPHRASE_FILE):
        certificates.renew(tmp_path)
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    passphrase(tmp_path, monkeypatch)
    certificates.renew(tmp_path)
    for name, sealed in (("cloud", b"correct horse"), ("helper", None)):
        data = (tmp_path / f"{name}.key").read_bytes()
        assert data != before[f"{name}.key"]
        key = serialization.load_pem_private_key(
            data, sealed
        )  # TypeError where it is sealed and should not be, or not
        made = x509.load_pem_x509_certificate((tmp_path / f"{name}.pem").read_bytes())
        assert made.public_key() == key.public_key()


@pytest.mark.parametrize("what", ["server authority", "client authority", "password file", "accounts"])
def test_commands_refuse_secrets_that_are_open_to_others(tmp_path: Path, what: str) -> None:
    """An authority's key that is not sealed, and what `--password-file` names: one line that names the fix."""
    site, password = Site(tmp_path), tmp_path / "password"
    certificates.make(tmp_path / "tls")
    site.clients.create()
    site.account("cam")
    password.write_text("secret\n")
    password.chmod(0o600)
    path, use = {
        "server authority": (tmp_path / "tls" / "ca.key", lambda: certificates.renew(tmp_path / "tls")),
        "client authority": (tmp_path / "tls" / "clients" / "ca.key", site.clients.renew_list),
        "password file": (password, lambda: identities.credentials("cam", password)),
        "accounts": (tmp_path / "accounts.json", lambda: site.accounts),
    }[what]
    use()
    path.chmod(0o644)
    with pytest.raises(SecretError, match=f"mode 644.*chmod 600 .*{path.name}") as error:
        use()
    assert "\n" not in str(error.value)


def test_the_commands(tmp_path: Path) -> None:
    """`keys seal` and `keys unseal` at their full cost, once."""
    path, where = tmp_path / "master.key", tmp_path / "p"
    new_master(path)
    secret = path.read_bytes()
    where.write_text("a long enough passphrase\n")
    where.chmod(0o600)
    command = [sys.executable, "-m", "blindsight.app.cli", "keys"]
    options = [str(path), "--passphrase-file", str(where)]
    subprocess.run([*command, "seal", *options], check=True, capture_output=True)
    head = path.read_bytes()[8:16]
    assert int.from_bytes(head[:4], "little") >= 3 and int.from_bytes(head[4:], "little") >= 1 << 16
    again = subprocess.run([*command, "seal", *options], capture_output=True, text=True)
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "sealed already" in again.stderr
    subprocess.run([*command, "unseal", *options], check=True, capture_output=True)
    assert path.read_bytes() == secret


def test_a_group_may_read_what_is_another_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that an orchestrator mounts, readable by this process through its group alone."""
    path = tmp_path / "key"
    path.write_bytes(bytes(32))
    path.chmod(0o440)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert read_secret(path, 32) == bytes(32)
    path.chmod(0o444)
    with pytest.raises(SecretError):
        read_secret(path, 32)
