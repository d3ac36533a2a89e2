"""Microsoft SEAL decrypts every block: an independent judge of ring, encoding, key and NTT convention.

A block's dropped bits are filled with half a step, written as a SEAL ciphertext file and decrypted under a SEAL secret
key made from our NTT(s). SEAL sets the last prime of a chain aside, hence the dummy second prime.
"""

import json
import pathlib
import struct

import numpy as np
import pytest
import tenseal.sealapi as seal

from blindsight import _device
from blindsight.he import ingest
from blindsight.wire.blocks import Layout, Mode

DUMMY = 67090433  # the next prime below q that is 1 mod 2048
VECTORS = pathlib.Path(__file__).parents[1] / "vectors"


def frame(body: bytes) -> bytes:
    """SEAL's file header: magic, header size, version 4.x, no compression."""
    return struct.pack("<HBBBBHQ", 0xA15E, 16, *VERSION, 0, 0, 16 + len(body)) + body


def array(values: np.ndarray) -> bytes:
    return frame(struct.pack("<Q", values.size) + values.astype("<u8").tobytes())


@pytest.fixture(scope="module")
def context() -> seal.SEALContext:
    parms = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    parms.set_poly_modulus_degree(1024)
    parms.set_coeff_modulus([seal.Modulus(ingest.Q), seal.Modulus(DUMMY)])
    parms.set_plain_modulus(256)
    made = seal.SEALContext(parms, True, seal.SEC_LEVEL_TYPE.NONE)
    assert made.parameters_set()
    return made


VERSION = (4, 0)


@pytest.fixture(scope="module", autouse=True)
def version(context: seal.SEALContext, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The version bytes this SEAL writes."""
    global VERSION
    path = tmp_path_factory.mktemp("seal") / "key"
    seal.KeyGenerator(context).secret_key().save(str(path))
    head = path.read_bytes()[:16]
    VERSION = (head[3], head[4])


def decryptor(context: seal.SEALContext, s_ntt: np.ndarray, folder: pathlib.Path) -> seal.Decryptor:
    both = np.concatenate([s_ntt, np.zeros(1024, np.uint32)])
    body = struct.pack("<4QQd", *context.key_parms_id(), 2048, 1.0) + array(both)
    (folder / "secret").write_bytes(frame(body))
    key = seal.SecretKey()
    key.load(context, str(folder / "secret"))
    return seal.Decryptor(context, key)


def decrypt(
    context: seal.SEALContext, d: seal.Decryptor, c0: np.ndarray, c1: np.ndarray, folder: pathlib.Path
) -> bytes:
    parms = context.first_parms_id()
    body = struct.pack("<4QBQQQdQ", *parms, 0, 2, 1024, 1, 1.0, 1) + array(np.concatenate([c0, c1]))
    (folder / "ciphertext").write_bytes(frame(body))
    ciphertext = seal.Ciphertext()
    ciphertext.load(context, str(folder / "ciphertext"))
    plain = seal.Plaintext()
    d.decrypt(ciphertext, plain)
    return bytes(plain.data(i) if i < plain.coeff_count() else 0 for i in range(1024))


@pytest.mark.parametrize("mode", [Mode.RLWE, Mode.RLWE_SK], ids=lambda m: m.label)
def test_seal_decrypts_every_block(context: seal.SEALContext, mode: Mode, tmp_path: pathlib.Path) -> None:
    pictures = json.loads((VECTORS / "device_picture.json").read_text())["pictures"]
    keys = json.loads((VECTORS / "device_keys.json").read_text())
    seed = bytes.fromhex(keys["rlwe_secret_seed" if mode is Mode.RLWE else "shared_rlwe_secret_seed"])
    s = _device.sample_ternary(seed, 16, 0)
    d = decryptor(context, _device.ntt(np.where(s < 0, s + ingest.Q, s).astype(np.uint32)), tmp_path)
    seen = 0
    for picture in (p for p in pictures if p["mode"] == mode.label):
        pixels = bytes.fromhex(picture["pixels"])
        layout = Layout(mode, len(pixels), picture["polys_per_block"])
        values = b""
        for number, block in enumerate(picture["blocks"]):
            for poly, i in zip(
                layout.split(number, bytes.fromhex(block)), layout.polys_of(number), strict=True
            ):
                c0 = np.zeros(1024, np.uint32)
                used = layout.used(i)
                c0[:used] = ingest.restore_c0(mode, poly[layout.head_bytes :], used)
                head = poly[: layout.head_bytes]
                if mode is Mode.RLWE:
                    c1 = ((_device.unpack(head, 1024, 18) << np.uint32(8)) + np.uint32(128)) % np.uint32(
                        ingest.Q
                    )
                else:
                    c1 = _device.multiply(_device.sample_uniform(head), np.ones(1024, np.uint32))
                values += decrypt(context, d, c0, c1, tmp_path)[:used]
                seen += 1
        assert values == pixels + bytes.fromhex(picture["key_bytes"])
    assert seen >= 4
