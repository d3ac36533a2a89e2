"""A set-up that was handed out as docs/howto/deploy.md says: three folders stand for three machines, and none sees
another's. The helper's half enrols and ends devices without the cloud's, what admits to the broker stays on neither.
"""

import asyncio
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from tls_kit import command

from blindsight.app.certificates import CertificateFault
from blindsight.app.devicefolder import FolderError
from blindsight.app.site import Site, SiteError
from blindsight.app.split import split_into
from blindsight.client import Client, Refused
from blindsight.client.identity import load
from blindsight.cloud.models import ModelError
from blindsight.hw.provision import ProvisionError, read_directory, settings_of
from blindsight.nn.plan import PlanError
from blindsight.service.settings import place_name
from blindsight.wire import keys
from blindsight.wire.blocks import Mode


@dataclass
class Machines:
    """`whole`: the set-up as it was, for comparison."""

    whole: Path
    owner: Path
    helper: Path
    cloud: Path
    broker_port: int


def hand_out(tmp_path: Path, option: str) -> Machines:
    """Makes a set-up with one device, takes the halves to their machines and deletes them on the first."""
    at = Machines(*(tmp_path / n / "site" for n in ("whole", "owner", "helper", "cloud")), kit.free_port())
    model = kit.toy_model(tmp_path / "model")
    command("keys", "init", at.owner, "--model", model, "--broker-host", "localhost", "--broker-port", at.broker_port,
            "--broker-ca", "own", option, "--link-port", kit.free_port())  # fmt: skip
    command("keys", "device", "cam-1", "--site", at.owner, "--model", "toy")
    shutil.copytree(at.owner, at.whole)
    for who in ("helper", "cloud"):
        there: Path = getattr(at, who)
        shutil.copytree(at.owner / who, there / who)
        shutil.copy(at.owner / f"{who}.toml", there)
        (there / "tls").mkdir()
        for file in (f"{who}.pem", f"{who}.key", "ca.pem"):
            shutil.copy(at.owner / "tls" / file, there / "tls")
        (at.owner / f"{who}.toml").unlink()
        (at.owner / "tls" / f"{who}.key").unlink()
    if option == "--certificates":
        (at.cloud / "tls" / "clients").mkdir()
        for file in ("cloud.pem", "cloud.key"):
            shutil.move(at.owner / "tls" / "clients" / file, at.cloud / "tls" / "clients")
    for part in ("helper", "cloud", "devices"):
        shutil.rmtree(at.owner / part)
    return at


def states(site: Path) -> dict[tuple[str, int], str]:
    rows = json.loads(command("keys", "list", "--site", site, "--json"))["devices"]
    return {(r["device"], r["epoch"]): r["state"] for r in rows}


def bring(at: Machines, name: str) -> Path:
    """The device's folder from the helper's machine to the one that completes it."""
    target = at.owner / "devices" / name
    shutil.copytree(at.helper / "devices" / name, target, dirs_exist_ok=True)
    return target


def fields(value: Any) -> Any:
    """The names in a JSON object, in order, at every depth."""
    return [(k, fields(v)) for k, v in value.items()] if isinstance(value, dict) else type(value)


def same_as_whole(at: Machines, folder: Path) -> None:
    """The directory has the files and fields, and but for secrets the values, that the whole set-up would have written."""
    name = folder.name
    command("keys", "device", name, "--site", at.whole, "--model", "toy")
    other = at.whole / "devices" / name
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in other.iterdir())
    assert all(p.stat().st_mode & 0o077 == 0 for p in folder.iterdir() if p.suffix not in (".pem",))
    ours, theirs = (json.loads((f / "config.json").read_text()) for f in (folder, other))
    assert fields(ours) == fields(theirs)
    for config in (ours, theirs):
        config["broker"].pop("password", None)
    assert ours == theirs and (folder / "ca.pem").read_bytes() == (other / "ca.pem").read_bytes()


def test_the_helpers_half_stands_alone(tmp_path: Path) -> None:
    at = hand_out(tmp_path, "--certificates")
    shutil.rmtree(at.cloud)
    shutil.rmtree(at.owner / "tls")
    for file in at.helper.rglob("*"):  # what is there to begin with: no weights, no way to the broker
        assert file.suffix not in (".bsm", ".crl") and file.name not in (
            "cloud.toml",
            "ca.key",
            "accounts.json",
        )
    made = json.loads(command("keys", "device", "cam-2", "--site", at.helper, "--model", "toy", "--json"))
    assert (
        made["store"] == str(at.helper / "helper" / "helper.db") and "keys certificate cam-2" in made["next"]
    )
    folder = Path(made["folder"])
    register = Site(at.helper).register()
    key_id = keys.key_id_public((folder / "pk.bin").read_bytes())
    (found,) = register.find("cam-2", Mode.RLWE, key_id)
    register.close()
    assert found.manifest_key == keys.manifest_key((folder / "secret.bin").read_bytes())

    said = command("keys", "device", "cam-1", "--site", at.helper, "--model", "toy")
    assert f"cam-1 is enrolled in {made['store']}" in said
    assert states(at.helper) == {("cam-1", 0): "draining", ("cam-1", 1): "active", ("cam-2", 0): "active"}
    said = command("keys", "retire", "cam-1", "--site", at.helper)
    assert f"1 former epochs ended in {made['store']}" in said and "--broker-only" in said
    said = command("keys", "revoke", "cam-2", "--site", at.helper)
    assert f"1 epochs ended in {made['store']}" in said and "revoke cam-2 --broker-only" in said
    assert states(at.helper) == {("cam-1", 0): "ended", ("cam-1", 1): "active", ("cam-2", 0): "ended"}
    before = (at.helper / "helper" / "master.key").read_bytes()
    assert made["store"] in command("keys", "master", "--site", at.helper)
    assert (at.helper / "helper" / "master.key").read_bytes() != before
    with pytest.raises(CertificateFault, match=r"run this where its ca\.key is kept"):
        command("keys", "certificate", "cam-1", "--site", at.helper)
    # a copy of the register is another register, and the message says which one was changed
    assert states(at.whole) == {("cam-1", 0): "active"}
    said = command("keys", "revoke", "cam-1", "--site", at.whole)
    assert str(at.whole / "helper" / "helper.db") in said and "run it there" in said
    assert states(at.helper)["cam-1", 1] == "active"


def test_what_is_left_of_the_set_up_says_where_to_go(tmp_path: Path) -> None:
    at = hand_out(tmp_path, "--certificates")
    for wanted in (
        ["device", "cam-2", "--model", "toy"],
        ["list"],
        ["master"],
        ["retire", "cam-1"],
        ["revoke", "cam-1"],
    ):
        for left in (at.owner, at.cloud):
            with pytest.raises(SiteError, match="run this on the helper's machine") as error:
                command("keys", *wanted, "--site", left)
            assert "\n" not in str(error.value)
    with pytest.raises(SiteError, match="--broker-only"):
        command("keys", "revoke", "cam-1", "--site", at.owner)
    with pytest.raises(SiteError, match="holds a set-up already"):  # its authority is still in use
        command("keys", "init", at.owner)
    with pytest.raises(FolderError, match="on the helper's machine"):
        command("keys", "certificate", "cam-1", "--site", at.owner)

    def broker_config() -> list[str]:
        out = command("broker", "config", "--site", at.owner, "--out", tmp_path / "broker", "--json")
        return json.loads(out)["devices"]

    assert broker_config() == ["cam-1"]
    command("keys", "device", "cam-1", "--site", at.helper, "--model", "toy")
    bring(at, "cam-1")
    command("keys", "certificate", "cam-1", "--site", at.owner)
    assert [e.epoch for e in Site(at.owner).clients.issued() if e.name == "cam-1"] == [0, 1]
    said = command("keys", "retire", "cam-1", "--site", at.owner, "--broker-only")
    assert "1 former certificates revoked here" in said and "its keys live until" in said
    assert broker_config() == ["cam-1"]
    out = json.loads(command("keys", "revoke", "cam-1", "--site", at.owner, "--broker-only", "--json"))
    assert out == {"device": "cam-1", "epochs_ended": 0, "certificates_revoked": 1, "store": None}
    assert broker_config() == []
    for name in ("cam-1", "cam-9"):
        with pytest.raises(SiteError, match=f"no account of {name}"):
            command("keys", "revoke", name, "--site", at.owner, "--broker-only")
    with pytest.raises(SiteError, match="cloud's account"):
        command("keys", "revoke", "cloud", "--site", at.owner, "--broker-only")


def test_accounts_are_given_elsewhere(tmp_path: Path) -> None:
    """The helper's machine never holds a password; a folder that lacks one goes to no board."""
    at = hand_out(tmp_path, "--accounts")
    (tmp_path / "password").write_text("p\n")
    (tmp_path / "password").chmod(0o600)
    device = ("keys", "device", "cam-2", "--site", at.helper, "--model", "toy")
    with pytest.raises(SiteError, match="holds no broker account"):
        command(*device, "--user", "cam-2", "--password-file", tmp_path / "password")
    assert "keys account cam-2" in command(*device)
    folder = bring(at, "cam-2")
    with pytest.raises(ProvisionError, match="keys account cam-2"):
        settings_of(read_directory(folder), folder)
    command("keys", "account", "cam-2", "--site", at.owner)
    settings_of(read_directory(folder), folder)
    password = json.loads((at.owner / "accounts.json").read_text())["cam-2"]
    assert load(folder)[1].password == password
    assert password not in (at.helper / "devices" / "cam-2" / "config.json").read_text()
    same_as_whole(at, folder)
    command(
        "keys",
        "account",
        "cam-2",
        "--site",
        at.owner,
        "--user",
        "u",
        "--password-file",
        tmp_path / "password",
    )
    assert (load(folder)[1].user, load(folder)[1].password) == ("u", "p")
    assert Site(at.owner).admitted() == ["cam-1", "cam-2"]
    command("keys", "revoke", "cam-2", "--site", at.owner, "--broker-only")
    assert Site(at.owner).admitted() == ["cam-1"] and "cloud" in Site(at.owner).accounts
    command("keys", "revoke", "cam-1", "--site", at.whole)
    assert "cam-1" not in Site(at.whole).accounts  # enrolled again, it gets another password
    with pytest.raises(FolderError, match="not of 'cam-1'"):
        shutil.copytree(folder, at.owner / "devices" / "cam-1")
        command("keys", "account", "cam-1", "--site", at.owner)


def test_the_plan_is_the_helpers_own(tmp_path: Path) -> None:
    at = hand_out(tmp_path, "--certificates")
    plans = at.helper / "helper" / "plans"
    device = ("keys", "device", "cam-2", "--site", at.helper, "--model")
    with pytest.raises(PlanError, match=r"copy nosuch\.plan\.json there"):
        command(*device, "nosuch")
    kit.toy_model(tmp_path / "second", side=8)
    shutil.copy(tmp_path / "second" / "toy.plan.json", plans / "second.plan.json")
    with pytest.raises(PlanError, match="--plan"):
        command(*device, "toy")
    assert ("cam-2", 0) not in states(at.helper)
    for plan_hash, plan in Site(at.helper).plans.serving()["toy"].items():
        command(*device, "toy", "--plan", plan_hash.hex()[:16])
        config = json.loads((at.helper / "devices" / "cam-2" / "config.json").read_text())
        assert (config["plan_hash"], config["height"]) == (plan_hash.hex(), plan.height)
    text = (at.helper / "helper.toml").read_text()
    (at.helper / "helper.toml").write_text(text.replace('broker = "localhost"\n', ""))
    with pytest.raises(SiteError, match=r"add a table \[devices\]"):  # a set-up of an older version
        command(*device, "toy")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_each_half_takes_its_part_of_a_model(tmp_path: Path) -> None:
    """After the hand-out a plain and a split model are installed machine by machine, as on the whole set-up; what would
    give one server the other's share is refused.
    """
    at = hand_out(tmp_path, "--certificates")
    new, parts = kit.toy_model(tmp_path / "new", side=8), tmp_path / "parts"
    shares = split_into(kit.toy_model(tmp_path / "hidden", name="hidden"), parts)
    plan, (cloud, helper) = new.with_suffix(".plan.json"), (Path(shares[w]) for w in ("cloud", "helper"))
    refused: list[tuple[Path, Path, type[Exception], str]] = [
        (at.helper, new, PlanError, "holds weights"),
        (at.helper, cloud, PlanError, "the share of the cloud"),
        (at.helper, parts, SiteError, r"\*\.helper\.share alone"),
        (at.cloud, parts, SiteError, r"\*\.cloud\.share alone"),
        (at.cloud, helper, ModelError, "the share of the helper"),
        (at.cloud, plan, ModelError, "a plan, not a model"),
        (at.owner, new, SiteError, "neither server's half"),
    ]
    before = [files(getattr(at, who)) for who in ("owner", "helper", "cloud")]
    for place, source, kind, why in refused:
        with pytest.raises(kind, match=why):
            command("model", "add", source, "--site", place)
    assert [files(getattr(at, who)) for who in ("owner", "helper", "cloud")] == before
    command("model", "add", new, "--site", at.whole)
    command("model", "add", parts, "--site", at.whole)
    for place, source in ((at.helper, plan), (at.cloud, new), (at.helper, helper), (at.cloud, cloud)):
        told = json.loads(command("model", "add", source, "--site", place, "--json"))
        assert told["name"] in ("toy", "hidden") and (told["version"] is None) == (place == at.helper)
    for half, part in ((at.helper, "helper/plans"), (at.cloud, "cloud/models")):
        assert files(half / part) == files(at.whole / part)
    assert not (at.cloud / "helper").exists() and not (at.helper / "cloud").exists()
    assert "model add toy.plan.json`" in command("model", "add", new, "--site", at.cloud)
    assert "*.helper.share" in command("model", "add", cloud, "--site", at.cloud)


def test_an_address_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    named = place_name("postgresql://bs:s3cret@db.example/blindsight?sslmode=verify-full&password=s4cret")
    assert named == "postgresql://db.example/blindsight"


def test_a_picture_of_a_device_enrolled_there(tmp_path: Path) -> None:
    """Enrolled at the helper, completed at the set-up machine, answered by both servers, each in its own folder; and
    refused once the helper has ended its keys, whatever the broker still lets through.
    """
    at = hand_out(tmp_path, "--certificates")
    with open(at.cloud / "cloud.toml", "a") as toml:
        toml.write("material_low = 2\nmaterial_high = 4\nretry_s = 0.05\n")
    command("keys", "device", "cam-2", "--site", at.helper, "--model", "toy")
    folder = bring(at, "cam-2")
    with pytest.raises(ProvisionError, match="keys certificate cam-2"):
        settings_of(read_directory(folder), folder)
    command("keys", "certificate", "cam-2", "--site", at.owner)
    same_as_whole(at, folder)
    conf = tmp_path / "broker" / "mosquitto.conf"
    command("broker", "config", "--site", at.owner, "--out", conf.parent, "--port", at.broker_port)
    with open(conf, "a") as file:
        file.write("user root\n")
    assert kit.MOSQUITTO
    broker = kit.Process([kit.MOSQUITTO, "-c", str(conf)], tmp_path / "mosquitto.log")
    script = [sys.executable, str(kit.HERE / "fake_service.py")]
    helper, cloud = (
        kit.Process([*script, who, str(getattr(at, who) / f"{who}.toml")], tmp_path / f"{who}.log")
        for who in ("helper", "cloud")
    )
    (picture,) = np.random.default_rng(4).integers(0, 256, (1, 16, 16), dtype=np.uint8)

    async def classify() -> int:
        async with Client(folder, connect_s=5) as client:
            return (await client.classify(picture, 60)).index

    try:
        broker.start()
        kit.wait_port(at.broker_port)
        helper.start()
        cloud.start().until("subscribed")
        assert asyncio.run(classify()) == kit.label_of(picture.tobytes())
        command("keys", "revoke", "cam-2", "--site", at.helper)
        with pytest.raises(Refused, match="code 6"):
            asyncio.run(classify())
    finally:
        kit.stop_all(cloud, helper, broker)
