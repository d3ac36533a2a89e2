"""Certificates and keys in PEM or DER, as the DER that every port's TLS takes (not all parse PEM)."""

import binascii

from bsdev.settings import ConfigError


def load(settings, broker, name):
    """The DER of what the broker setting `name` points to: `ca` and `certificate` certificates in the file's order,
    `key` private keys (EC PRIVATE KEY, RSA PRIVATE KEY). Blocks with another label, EC PARAMETERS say, are passed
    over; a file without PEM is one object of DER.

    ConfigError when there is none, one is damaged, or a key wants a password.
    """
    name, label = broker[name], b"PRIVATE KEY" if name == "key" else b"CERTIFICATE"
    data = settings.read(name)
    if b"-----BEGIN " not in data:
        return [data]
    found = []
    for part in data.split(b"-----BEGIN ")[1:]:
        title = part.split(b"-----", 1)[0]
        if not title.endswith(label):
            continue
        body = part[len(title) + 5 :].split(b"-----END ")[0]
        if title.startswith(b"ENCRYPTED") or b":" in body:  # PKCS #8; headers of RFC 1421
            raise ConfigError(settings.path(name) + " wants a password: give the device a key without one")
        try:
            found.append(binascii.a2b_base64(body.replace(b"\r", b"").replace(b"\n", b"")))
        except ValueError:
            raise ConfigError(settings.path(name) + " is damaged: provision the device again")
    if not found:
        raise ConfigError(settings.path(name) + " holds no " + label.decode())
    return found
