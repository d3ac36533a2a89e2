"""Certificates of a set-up: one authority for the servers, one for the clients of the broker. ECDSA P-256, X.509 v3.

`make`: cloud, helper and broker know each other by the first. `Clients`: each device's certificate carries its id as
common name, which the broker takes as user name; former ones are revoked by a list (CRL). Whoever holds an
authority's key says who may be the other server, or a device: in production it is kept on a machine that is neither
server.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from blindsight.offline.cursor import write_durably
from blindsight.service.secretfile import as_kept, is_sealed_key, key_password

DAYS = 825
AUTHORITY_DAYS = 3650  # boards outlive their certificates
SERVERS = {"cloud": "cloud.blindsight", "helper": "helper.blindsight", "broker": "localhost"}
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
PRIVATE = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class CertificateFault(Exception):
    """The authority cannot do that; one line that names the fix."""


def make(folder: Path, days: int = DAYS) -> None:
    """ca.pem and ca.key, and NAME.pem and NAME.key for cloud, helper and broker; keys with mode 0600."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority, ca = _authority("Blindsight servers", AUTHORITY_DAYS)
    _write(folder, "ca", ca, authority)
    renew(folder, days)


def renew(folder: Path, days: int = DAYS) -> str:
    """Fresh certificates and keys for cloud, helper and broker under the authority in `folder`; until when. A key takes
    the place of one that was sealed under the same passphrase.
    """
    authority, ca = _load(folder)
    for name, host in SERVERS.items():
        key = ec.generate_private_key(ec.SECP256R1())
        made = _sign(host, key, host, authority, ca, days, BOTH)
        _write(folder, name, made, key)
    return made.not_valid_after_utc.isoformat(timespec="seconds")


@dataclass(frozen=True)
class Issued:
    """One certificate of the broker's clients."""

    serial: int
    name: str
    epoch: int
    expires: str
    revoked: str = ""


class Clients:
    """The authority of the broker's clients: `ca.pem`, `ca.key`, `crl.pem` and `issued.json` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.crl = folder / "crl.pem"

    @property
    def ready(self) -> bool:
        """Whether this set-up's broker knows its clients by certificate."""
        return (self.folder / "ca.key").exists()

    def create(self) -> None:
        """Makes the authority and an empty list of the revoked."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key, ca = _authority("Blindsight broker clients", AUTHORITY_DAYS)
        _write(self.folder, "ca", ca, key)
        self._keep([])

    def issued(self) -> list[Issued]:
        """Every certificate made here, oldest first."""
        path = self.folder / "issued.json"
        return [Issued(**entry) for entry in json.loads(path.read_text())] if path.exists() else []

    def issue(self, name: str, epoch: int, folder: Path, stem: str, days: int = DAYS) -> Issued:
        """STEM.pem and STEM.key for the client `name` into `folder`; earlier ones of it stay good."""
        authority, ca = _load(self.folder)
        key = ec.generate_private_key(ec.SECP256R1())
        made = _sign(name, key, None, authority, ca, days, (ExtendedKeyUsageOID.CLIENT_AUTH,))
        entry = Issued(
            made.serial_number, name, epoch, made.not_valid_after_utc.isoformat(timespec="seconds")
        )
        self._keep([*self.issued(), entry])  # before the files: what is out can always be revoked
        _write(folder, stem, made, key)
        return entry

    def revoke(self, name: str, keep: int | None = None) -> int:
        """Revokes the certificates of `name`, but those of epoch `keep`: of these all but the newest. Returns how
        many; the broker must be given the new list.
        """
        entries, now = self.issued(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        kept = [e.serial for e in entries if e.name == name and e.epoch == keep and not e.revoked][-1:]
        out = [
            Issued(**{**asdict(e), "revoked": now}) if e.name == name and not e.revoked and e.serial not in kept else e
            for e in entries
        ]  # fmt: skip
        self._keep(out)
        return sum(a != b for a, b in zip(entries, out, strict=True))

    def renew_list(self) -> None:
        """Signs the list anew: one that has expired keeps every client out."""
        self._keep(self.issued())

    def _keep(self, entries: list[Issued]) -> None:
        key, ca = _load(self.folder)  # before anything changes
        write_durably(
            self.folder / "issued.json", json.dumps([asdict(e) for e in entries], indent=1).encode()
        )
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(ca.subject)
            .last_update(now - datetime.timedelta(hours=1))
            .next_update(ca.not_valid_after_utc)
        )
        for entry in entries:
            if entry.revoked:
                when = datetime.datetime.fromisoformat(entry.revoked)
                builder = builder.add_revoked_certificate(
                    x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(when).build()
                )
        write_durably(self.crl, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        self.crl.chmod(0o644)  # public; the broker's own user reads it


def _load(folder: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        passphrase = key_password(folder / "ca.key")  # whoever reads this key makes servers or devices
        sealed = (folder / "ca.key").read_bytes()
        key = serialization.load_pem_private_key(sealed, passphrase() if is_sealed_key(sealed) else None)
        ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateFault(
            f"{folder} holds no authority ({error}): run this where its ca.key is kept, or make one with `blindsight keys init`"
        ) from None
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key, ca


def _authority(name: str, days: int) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _sign(name, key, None, key, None, days)


def _sign(
    common_name: str, key: ec.EllipticCurvePrivateKey, host: str | None, authority: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate | None, days: int, uses: tuple[x509.ObjectIdentifier, ...] = (),
) -> x509.Certificate:  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    public = authority.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if ca is None else ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1, days=max(0, -days)))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.BasicConstraints(ca=ca is None, path_length=0 if ca is None else None), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(_usage(ca is None), critical=True)
    )
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    if host is not None:
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority, hashes.SHA256())


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    place, data = folder / f"{name}.key", key.private_bytes(*PRIVATE)
    if place.exists():  # before anything changes: the passphrase may be missing
        data = as_kept(place, data)
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_durably(place, data)
