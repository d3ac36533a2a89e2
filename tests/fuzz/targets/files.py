"""Files of services and clients: settings, keys, pictures, material."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from blindsight.app.bridge import BridgeConfig
from blindsight.client import ClientError
from blindsight.client import identity as client_identity
from blindsight.client import picture as client_picture
from blindsight.client import state as client_state
from blindsight.cloud.config import CloudConfig
from blindsight.helper.config import HelperConfig
from blindsight.offline.cursor import read_cursor
from blindsight.offline.store import StoreError, stored_pools
from blindsight.service import secretfile
from blindsight.service.config import ConfigError, load
from blindsight.wire import WireError

from .firmware import board
from .register import FOLDER, IMAGE, NESTED, Finding, as_file, one_line, target


def _configs() -> list[bytes]:
    cloud = (
        b'data = "c"\nmodels = "m"\n[broker]\nport = 1883\n[helper]\nport = 7610\n[workers]\nretry_s = 0.5\n'
    )
    helper = b'data = "h"\nplans = "p"\nmaster = "k"\n[listen]\nport = 7610\n'
    bridge = b'identity = "d"\ndiscovery = true\n[second_broker]\nhost = "127.0.0.1"\nport = 1884\n'
    return [cloud, helper, bridge, NESTED[2]]


@target(_configs, ConfigError, ClientError)
def configs(data: bytes) -> None:
    """The services' TOML."""
    path = as_file(data, "c.toml")
    for kind in (CloudConfig, HelperConfig, BridgeConfig):
        try:
            load(kind, path)
        except ConfigError as error:
            one_line(error)


def _sealed() -> list[bytes]:
    return [secretfile.seal(bytes(32), b"p", 1, 8)]


@target(_sealed, secretfile.SecretError)
def sealed_secrets(data: bytes) -> None:
    """Sealed key files; the cost in a hostile header is bounded before it is paid."""
    head = len(secretfile.MAGIC)
    if data.startswith(secretfile.MAGIC) and len(data) > head + 8:
        passes, kib = struct.unpack_from("<II", data, head)
        if passes <= secretfile.MAX_PASSES and 64 < kib <= secretfile.MAX_KIB:
            return  # allowed, and slow: not the parser's fault
    secretfile.unseal(data, b"p")


_IDENTITY: dict[str, Any] = {
    "device": "cam-1", "epoch": 0, "model": "toy", "plan_hash": "00" * 32, "labels": ["a"], "reveal": "top1",
    "output_scale_bits": 0, "mode": "rlwe-sk", "height": 16, "width": 16, "channels": 1, "polys_per_block": 4,
    "broker": {"host": "127.0.0.1", "port": 1883, "tls": False},
}  # fmt: skip


@target(lambda: [json.dumps(_IDENTITY).encode(), *NESTED[:2]], ClientError)
def identities(data: bytes) -> None:
    """config.json of a device directory, as the board reads it (whose labels are found without being loaded) and as the
    client does."""
    path = as_file(data, "config.json")
    labels = board("labels")
    with contextlib.suppress(ValueError, TypeError, AttributeError, IndexError, RecursionError):
        # json.load of a file that is cut up; provisioning writes it, MQTT never does
        values = labels.load(str(path))
        found = values.get("labels") if isinstance(values, dict) else None
        if isinstance(found, labels.Labels) and len(found):
            found[0]
    as_file(bytes(32), "secret.bin")
    client_identity.load(path.parent)


def _parcels() -> list[bytes]:
    header = {
        "device": "cam-1", "image": IMAGE.hex(), "digest": "00" * 32, "key": "00" * 32, "plan_hash": "00" * 32,
        "reveal": "TOP1", "accepted": False, "sizes": [4, 2],
    }  # fmt: skip
    text = json.dumps(header).encode()
    nested = [struct.pack("<I", len(n)) + n for n in NESTED[:2]]
    return [struct.pack("<I", len(text)) + text + b"abcdef", *nested]


@target(_parcels, ClientError, WireError)
def kept_pictures(data: bytes) -> None:
    """A sender's files of pictures that wait."""
    client_state.parse(data)


def _pictures() -> list[bytes]:
    from PIL import Image

    out = []
    for kind, mode in (("PNG", "RGB"), ("JPEG", "L"), ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGB")):
        file = io.BytesIO()
        Image.new(mode, (6, 5), 77).save(file, kind)
        out.append(file.getvalue())
    return out


@target(_pictures, ClientError)
def pictures(data: bytes) -> None:
    """Picture files."""
    got = client_picture.load(io.BytesIO(data), (4, 4, 3))
    if got.shape != (4, 4, 3) or got.dtype != np.uint8:
        raise Finding("a picture of another shape")


def _archives() -> list[bytes]:
    archive, arrays = io.BytesIO(), []
    pack = {"x": np.zeros((2, 4, 4), np.uint8), "y": np.zeros(2, np.int64)}
    np.savez(archive, **pack)
    for array in pack.values():
        file = io.BytesIO()
        np.save(file, array)
        arrays.append(file.getvalue())
    return [archive.getvalue(), struct.pack("<H", len(arrays[0])) + b"".join(arrays)]


def _images_error() -> type[Exception]:
    from blindsight.app.images import ImagesError

    return ImagesError


@target(_archives, _images_error())
def archives(data: bytes) -> None:
    """Pictures as .npz: an archive as it comes, or, of anything else, its entries x and y in a whole archive, whose checksums
    would keep the fuzzer out. The first two bytes then say where x ends."""
    from blindsight.app.images import load_images

    if data[:2] != b"PK" and len(data) > 2:
        end, file = 2 + int.from_bytes(data[:2], "little"), io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x.npy", data[2:end])
            archive.writestr("y.npy", data[end:])
        data = file.getvalue()
    load_images(as_file(data, "x.npz"))


def _pools() -> list[bytes]:
    cursor = bytes([3]) + struct.pack("<QQQ", 1, 2, 9)
    batches = [
        b'{"id": "b", "first": 4, "count": 8}',
        b'{"id": "b", "first": Infinity, "count": 1}',
        *NESTED[:2],
    ]
    return [cursor + batch for batch in batches]


@target(_pools, StoreError)
def material(data: bytes) -> None:
    """The files of a material pool: the cursor (as many records as the first byte says, every other one's checksum
    made right), then a batch."""
    folder = Path(FOLDER.name) / "pool"
    folder.mkdir(exist_ok=True)
    if not data:
        return
    split = 1 + 8 * data[0]
    records = [data[at : at + 8] for at in range(1, min(split, len(data)), 8)]
    sums = [zlib.crc32(record) if i % 2 == 0 else 0 for i, record in enumerate(records)]
    (folder / "cursor").write_bytes(
        b"".join(r + struct.pack("<I", c) for r, c in zip(records, sums, strict=True))
    )
    read_cursor(folder / "cursor")
    (folder / "b.json").write_bytes(data[split:])
    stored_pools(folder.parent)
