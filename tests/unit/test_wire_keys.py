"""Identities and derivations against the known answers of the device side."""

import json
from pathlib import Path

import pytest

from blindsight.wire import WireError, keys

VECTORS = Path(__file__).parents[1] / "vectors"
KAT = json.loads((VECTORS / "device_keys.json").read_text())


def test_derivations() -> None:
    master, device, epoch = bytes.fromhex(KAT["master"]), KAT["device"], KAT["epoch"]
    secret = keys.device_secret(master, device, epoch)
    assert secret.hex() == KAT["device_secret"]
    assert keys.rlwe_secret_seed(master, device, epoch).hex() == KAT["rlwe_secret_seed"]
    assert keys.manifest_key(secret).hex() == KAT["manifest_key"]
    assert keys.aes_key(secret).hex() == KAT["aes_key"]
    assert keys.shared_rlwe_seed(secret).hex() == KAT["shared_rlwe_secret_seed"]
    base = keys.result_base(secret)
    assert base.hex() == KAT["result_base"]
    got = keys.result_key(base, device, bytes.fromhex(KAT["image_id"]), bytes.fromhex(KAT["manifest_hash"]))
    assert got.hex() == KAT["result_key"]
    assert keys.key_id_public(bytes.fromhex(KAT["pk"])).hex() == KAT["key_id_rlwe"]
    assert keys.key_id_epoch(device, epoch).hex() == KAT["key_id_secret"]
    assert keys.shard(device) == KAT["shard"]


def test_hkdf_rfc5869_case_3() -> None:
    assert (
        keys.hkdf(b"\x0b" * 22, b"").hex()
        == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    )


@pytest.mark.parametrize("name", ["", "A", "a" * 33, "a/b", "a+", "fleet", "ü", "a\n"])
def test_bad_device_ids(name: str) -> None:
    with pytest.raises(WireError, match="device id"):
        keys.check_device(name)


@pytest.mark.parametrize("name", ["", "A", "m" * 65, "../x", "m\n"])
def test_bad_model_names(name: str) -> None:
    with pytest.raises(WireError, match="model name"):
        keys.check_model(name)


@pytest.mark.parametrize(
    "call",
    [
        lambda: keys.device_secret(bytes(31), "cam", 0),
        lambda: keys.device_secret(bytes(32), "cam", 1 << 32),
        lambda: keys.result_key(bytes(32), "cam", bytes(15), bytes(32)),
        lambda: keys.manifest_key(b""),
    ],
)
def test_bad_lengths(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WireError):
        call()
