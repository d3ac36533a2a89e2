"""Settings, logs, metrics, keys, the model registry: the parts of the services that need no network."""

import gc
import io
import json
import logging
import os
import sys
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
import service_kit as kit
from postgres_kit import STORES, store_at

from blindsight.app.site import BrokerAddress, Site, SiteError
from blindsight.app.split import split_into
from blindsight.channel import PeerClosed, tcp_connect
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.models import ModelError, Registry, Version
from blindsight.helper.acceptor import Acceptor
from blindsight.helper.config import HelperConfig, Listen
from blindsight.helper.keys import KeyFault, Keys, new_master, read_master
from blindsight.helper.plans import Plans
from blindsight.nn.model import plan_path
from blindsight.nn.plan import PlanError
from blindsight.service import logs, secretfile
from blindsight.service.config import ConfigError, load
from blindsight.service.engine import Program
from blindsight.service.metrics import Metrics
from blindsight.service.secretfile import SecretError
from blindsight.wire import WireError, keys
from blindsight.wire.blocks import Mode

# --- settings


@dataclass(frozen=True)
class Inner:
    number: int = 3
    seconds: float = 1.5
    file: Path | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_settings(tmp_path: Path) -> None:
    got = load(Outer, write(tmp_path / "a.toml", 'name = "x"\n[inner]\nseconds = 2\nfile = "k/y"\n'))
    assert got == Outer("x", Inner(3, 2.0, tmp_path / "k/y"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "name is missing"),
        ("name = 3", "name must be of type str"),
        ('name = "x"\nnmae = "y"', "nmae is unknown"),
        ('name = "x"\n[inner]\nnumber = "3"', "inner.number must be of type int"),
        ('name = "x"\n[inner]\nnumber = true', "inner.number must be of type int"),
        ('name = "x"\ninner = 3', "inner is a table"),
        ('name = "x"\n[inner]\nfile = 3', "inner.file is a path"),
        ("name = ", "is not TOML"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(Outer, write(tmp_path / "a.toml", text))


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (CloudConfig, '[broker]\nhost = "far"', "broker.ca is missing"),
        (CloudConfig, '[helper]\nhost = "far"', "helper.ca is missing"),
        (CloudConfig, '[helper]\nca = "x"', "belong together"),
        (CloudConfig, 'shards = "xyz"', "shards"),
        (CloudConfig, 'log_level = "loud"', "log_level"),
        (CloudConfig, "[workers]\nmaterial_batch = 17", "1 to 16"),
        (CloudConfig, "[workers]\nmaterial_low = 17", "material_low"),
        (CloudConfig, '[workers]\nmaterial_for = "all"', "material_for"),
        (HelperConfig, '[listen]\nhost = "0.0.0.0"', "listen.ca is missing"),
        (HelperConfig, '[listen]\nnetwork = "moon"', "lan"),
    ],
)
def test_unsafe_or_senseless_settings_are_refused(tmp_path: Path, kind: type, text: str, says: str) -> None:
    rest = 'models = "m"\n' if kind is CloudConfig else 'plans = "p"\nmaster = "m"\n'
    with pytest.raises(ConfigError, match=says):
        load(kind, write(tmp_path / "a.toml", f'data = "d"\n{rest}{text}\n'))


# --- logs and metrics


def test_logs_are_json_without_bytes() -> None:
    logs.setup("info")
    logger = logging.getLogger("blindsight")
    stream = io.StringIO()
    logger.handlers[0].stream = stream  # type: ignore[attr-defined]
    try:
        log = logs.Log("cloud")
        log.debug("hidden")
        log.info("seen", device="cam", key=b"\x01" * 32, n=3, text="x" * 1000, array=[1, 2])
        (line,) = stream.getvalue().splitlines()
        entry = json.loads(line)
        assert entry["event"] == "seen" and entry["service"] == "cloud" and entry["level"] == "info"
        assert entry["key"] == "<32 bytes>" and entry["array"] == "<list>" and len(entry["text"]) == 300
    finally:
        logger.handlers.clear()


def test_metrics_page() -> None:
    import urllib.request

    metrics, port = Metrics("test"), kit.free_port()
    metrics.count("things", by=2, kind="a")
    metrics.count("things", kind="a")
    metrics.gauge("level", 5)
    metrics.seconds("waiting", 0.2)
    assert metrics.value("things", kind="a") == 3 and metrics.value("things", kind="b") == 0
    assert metrics.serve("127.0.0.1", port)
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    finally:
        metrics.close()
    assert 'blindsight_test_things_total{kind="a"} 3.0' in page
    assert "blindsight_test_level 5.0" in page and "blindsight_test_waiting_count 1.0" in page


# --- the helper's keys


@pytest.fixture(params=STORES)
def register(request: pytest.FixtureRequest, tmp_path: Path) -> Keys:
    new_master(tmp_path / "master.key")
    place = store_at(request.param, tmp_path / "helper.db")
    return Keys(read_master(tmp_path / "master.key"), place, tmp_path / "master.key")


def test_the_master_is_guarded(tmp_path: Path) -> None:
    path = tmp_path / "k" / "master.key"
    with pytest.raises(KeyFault, match="keys init"):
        read_master(path)
    new_master(path)
    assert path.stat().st_mode & 0o777 == 0o600 and len(read_master(path)) == 32
    with pytest.raises(KeyFault, match="exists"):
        new_master(path)
    path.chmod(0o640)
    with pytest.raises(KeyFault, match="chmod 600"):
        read_master(path)
    path.chmod(0o600)
    path.write_bytes(bytes(31))
    with pytest.raises(KeyFault, match="31 bytes"):
        read_master(path)


def test_epochs(register: Keys) -> None:
    """Active, draining, ended; the files can be written again; ids name their epoch and no other."""
    first, second = register.provision("cam"), register.provision("cam")
    assert (first.epoch, second.epoch) == (0, 1) and first.secret != second.secret
    assert register.current("cam") == second
    ids = [keys.key_id_public(p.public_key) for p in (first, second)]
    (old,), (new,) = (register.find("cam", Mode.RLWE, i) for i in ids)
    assert old != new and new.manifest_key == keys.manifest_key(second.secret)
    assert register.find("cam", Mode.AES, ids[0]) == []
    assert register.find("cam", Mode.AES, keys.key_id_epoch("cam", 0)) == [old]
    assert register.find("other", Mode.RLWE, ids[0]) == []
    assert register.retire("cam") == 1
    assert not register.find("cam", Mode.RLWE, ids[0]) and register.find("cam", Mode.RLWE, ids[1])
    assert register.revoke("cam") == 1 and not register.find("cam", Mode.RLWE, ids[1])
    with pytest.raises(KeyFault, match="no active key"):
        register.current("cam")
    assert [d["state"] for d in register.devices()] == ["ended", "ended"]
    with pytest.raises(WireError):
        register.provision("fleet")
    again = register.provision("cam")
    assert again.epoch == 2 and again.secret not in (first.secret, second.secret)
    register.close()


def test_a_fleet_shares_the_lattice_key_only(register: Keys) -> None:
    one, two, alone = (register.provision(n, fleet) for n, fleet in (("a", True), ("b", True), ("c", False)))
    assert one.public_key == two.public_key != alone.public_key
    assert one.secret != two.secret
    later = register.provision("a", True)
    key_id = keys.key_id_public(one.public_key)
    found = register.find("a", Mode.RLWE, key_id)  # both epochs are under one lattice key
    assert [k.manifest_key for k in found] == [keys.manifest_key(p.secret) for p in (one, later)]
    for name in ("a", "b"):
        register.revoke(name)
    assert (
        register.provision("d", True).public_key != one.public_key
    )  # the fleet's key went with its last device
    register.close()


def test_ended_keys_are_destroyed(tmp_path: Path) -> None:
    """An epoch that ended leaves no root, in the tables or in the bytes of the files: master and store together
    derive nothing of it.
    """
    new_master(tmp_path / "master.key")
    master = read_master(tmp_path / "master.key")
    register = Keys(master, tmp_path / "helper.db")
    first, second = register.provision("cam"), register.provision("cam")
    query = "SELECT sealed FROM roots WHERE epoch = ?"
    (gone, kept) = (register._db.row(query, e)["sealed"] for e in (0, 1))  # type: ignore[index]
    files = [tmp_path / "helper.db", tmp_path / "helper.db-wal"]
    assert register.retire("cam") == 1
    data = b"".join(f.read_bytes() for f in files if f.exists())
    assert gone not in data and kept in data
    assert register.current("cam") == second != first
    register.close()


def test_a_new_master_opens_the_same_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master changes under a running helper; whichever way the change is cut off, the keys stay."""
    file = tmp_path / "master.key"
    new_master(file)
    old = read_master(file)
    running, register = (Keys(old, tmp_path / "helper.db", file) for _ in range(2))
    provision = register.provision("cam")
    key_id = keys.key_id_public(provision.public_key)
    assert register.change_master() == 1 and read_master(file) != old
    assert running.find("cam", Mode.RLWE, key_id) and running.current("cam") == provision
    with pytest.raises(KeyFault, match="another site's"):
        Keys(old, tmp_path / "helper.db").current("cam")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    settle, calls = Keys._settle, iter(range(100))
    before = ("blindsight.helper.keys._seal", cut)
    after = ("blindsight.helper.keys.Keys._settle", lambda *a: cut() if next(calls) else settle(*a))
    for where, what in (before, after):  # the commit
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(where, what)
            register.change_master()
        assert (tmp_path / "master.key.new").exists()
        fresh = Keys(read_master(file), tmp_path / "helper.db", file)
        assert fresh.current("cam") == provision
        fresh.provision("other")
        assert not (tmp_path / "master.key.new").exists()
        assert Keys(read_master(file), tmp_path / "helper.db", file).current("cam") == provision
        fresh.close()
    running.close()
    register.close()


def test_a_sealed_master_is_opened_once_and_stays_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening takes Argon2id and 256 MiB: not for every picture. A change of the master leaves no plain file behind."""
    file, passphrase = tmp_path / "master.key", tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    passphrase.chmod(0o600)
    monkeypatch.setenv(secretfile.PASSPHRASE_FILE, str(passphrase))
    new_master(file)
    old = read_master(file)
    secretfile.seal_file(file, b"correct horse")
    register = Keys(read_master(file), tmp_path / "helper.db", file)
    provision = register.provision("cam")
    with monkeypatch.context() as patch:
        patch.delenv(secretfile.PASSPHRASE_FILE)
        assert register.current("cam") == provision
    assert register.change_master() == 1
    assert secretfile.is_sealed(file.read_bytes()) and read_master(file) != old
    assert Keys(read_master(file), tmp_path / "helper.db", file).current("cam") == provision
    register.close()


def test_no_key_shows_in_a_printed_object(register: Keys) -> None:
    provision = register.provision("cam")
    (found,) = register.find("cam", Mode.AES, keys.key_id_epoch("cam", 0))
    secrets = (provision.secret, found.manifest_key, found.aes_key, found.result_base, found.rlwe_seed)
    for secret in (*secrets, found.shared_seed):
        assert repr(secret) not in repr(provision) + repr(found)
    register.close()


# --- connections


def test_a_fault_in_a_handshake_ends_that_connection_alone() -> None:
    """A plan that goes while it is looked at, a key whose passphrase is gone: refused and closed, the next is served."""
    faults: list[Exception] = [OSError("a plan went"), SecretError("helper.key is sealed")]
    served = threading.Event()

    def hello() -> dict[str, object]:
        if faults:
            raise faults.pop()
        return {}

    metrics = Metrics("helper")
    acceptor = Acceptor(Listen(port=0), hello, lambda _: served.set(), metrics, logs.Log("helper"))
    acceptor.start()
    for _ in range(2):
        with pytest.raises(PeerClosed):
            tcp_connect(0, *acceptor.address, {}, 30)
    tcp_connect(0, *acceptor.address, {}, 30).close()
    assert served.wait(30)
    acceptor.stop()  # joins the threads that count
    assert metrics.value("connections_refused") == 2


# --- models


def test_registry(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    assert registry.serving() == {}
    with pytest.raises(ModelError, match="not active"):
        registry.active("toy")
    one = registry.add(kit.toy_model(tmp_path / "a"))
    assert registry.serving() == {}  # installed is not active
    registry.activate("toy", one.id.hex()[:8])
    retrained = registry.add(kit.toy_model(tmp_path / "b", bias=1))  # the same plan, other weights
    other_plan = registry.add(kit.toy_model(tmp_path / "c", side=8))
    assert retrained.plan_hash == one.plan_hash != other_plan.plan_hash
    registry.activate("toy", retrained.id.hex())
    assert registry.serving()["toy"] == {one.plan_hash: retrained}
    registry.activate("toy", other_plan.id.hex())
    assert registry.serving()["toy"] == {one.plan_hash: retrained, other_plan.plan_hash: other_plan}
    assert registry.roll_back("toy") == retrained and registry.roll_back("toy") == one
    assert Registry(tmp_path / "models").active("toy") == one
    with pytest.raises(ModelError, match="no earlier"):
        registry.roll_back("toy")
    with pytest.raises(ModelError, match="0 installed"):
        registry.activate("toy", "ffff")
    with pytest.raises(ModelError):
        registry.add(tmp_path / "a" / "toy.plan.json")
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "models").rglob("*.bsm"))


def test_weights_no_longer_served_are_let_go(tmp_path: Path) -> None:
    from blindsight.cloud.programs import Programs

    registry = Registry(tmp_path / "models")
    one, retrained, other_plan = (
        registry.add(kit.toy_model(tmp_path / name, bias=bias, side=side))
        for name, bias, side in (("a", 0, 4), ("b", 1, 4), ("c", 0, 8))
    )
    programs = Programs(1, registry)

    def load(version: Version) -> weakref.ref[Program]:
        registry.activate("toy", version.id.hex())
        assert programs(version) is programs(version) and programs(version).version == version.id
        return weakref.ref(programs(version))

    first, second = load(one), load(retrained)
    gc.collect()
    assert first() is None and second() is not None
    third = load(other_plan)  # beside it: devices of the older plan are still served
    gc.collect()
    assert second() is not None and third() is not None


def test_shares_of_a_concealed_model(tmp_path: Path) -> None:
    """Both servers name a split alike; a server takes its own share and no other, the helper runs no split
    it lacks.
    """
    from blindsight.cloud.programs import Programs as CloudPrograms
    from blindsight.helper.programs import Programs as HelperPrograms
    from blindsight.wire.jobs import Refused

    source = kit.toy_model(tmp_path / "m")
    one, two = (split_into(source, tmp_path / name) for name in ("one", "two"))
    registry, plans = Registry(tmp_path / "models"), Plans(tmp_path / "plans")
    version = registry.add(Path(one["cloud"]))
    registry.activate("toy", version.id.hex())
    plan = plans.add_share(Path(one["helper"]))
    assert registry.serving() == {"toy": {plan.hash: version}} and plans.serving() == {
        "toy": {plan.hash: plan}
    }
    ours, theirs = CloudPrograms(1, registry)(version), HelperPrograms(1, plans)(plan, version.id)
    assert ours.plan.hash == theirs.plan.hash and ours.version == theirs.version
    other = registry.add(Path(two["cloud"]))
    assert other.plan_hash == version.plan_hash and other.id != version.id
    with pytest.raises(Refused, match="no share of this split"):
        HelperPrograms(1, plans)(plan, other.id)
    plans.share(other.id).write_bytes(plans.share(version.id).read_bytes())
    with pytest.raises(Refused, match="another plan or split"):
        HelperPrograms(1, plans)(plan, other.id)
    with pytest.raises(ModelError, match="the share of the helper"):
        registry.add(Path(one["helper"]))
    with pytest.raises(PlanError, match="the share of the cloud"):
        plans.add_share(Path(one["cloud"]))


def test_the_helper_takes_plans_and_no_weights(tmp_path: Path) -> None:
    model = kit.toy_model(tmp_path / "a")
    plans = Plans(tmp_path / "plans")
    with pytest.raises(PlanError, match="holds weights"):
        plans.add(model)
    plan = plans.add(plan_path(model))
    assert plans.serving() == {"toy": {plan.hash: plan}} and plans.faults == []
    (tmp_path / "plans" / "bad.plan.json").write_bytes(model.read_bytes())
    assert plans.serving() == {"toy": {plan.hash: plan}}  # a running helper leaves the wrong file out
    assert len(plans.faults) == 1 and "weights" in plans.faults[0]


def test_a_site_is_private_and_made_once(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    site.init(BrokerAddress())
    site.add_model(kit.toy_model(tmp_path / "m"))
    folder = site.device("cam", "toy", "rlwe", BrokerAddress(), polys_per_block=2)
    config = json.loads((folder / "config.json").read_text())
    assert config["polys_per_block"] == 2 and config["epoch"] == 0 and config["mode"] == "rlwe"
    assert (folder / "secret.bin").stat().st_size == 32 and (folder / "pk.bin").stat().st_size == 3360
    with pytest.raises(SiteError, match="holds a set-up already"):
        site.init(BrokerAddress())
    load(CloudConfig, site.cloud_toml)
    load(HelperConfig, site.helper_toml)
    secret = [folder / "secret.bin", folder / "config.json", *(tmp_path / "site").rglob("*.key")]
    assert len(secret) >= 6
    for file in secret:
        assert file.stat().st_mode & 0o077 == 0, file
    assert os.stat(tmp_path / "site").st_mode & 0o077 == 0
    # the helper's side holds no weights
    assert not list((tmp_path / "site" / "helper").rglob("*.bsm"))
