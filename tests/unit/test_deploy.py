"""What is under deploy/ is what the tools take: schemas of compose and Kubernetes, systemd's own check, settings and
metrics that the services really have.
"""

import ast
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from blindsight.cloud.config import CloudConfig
from blindsight.helper.config import HelperConfig
from blindsight.service.config import load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
SUFFIXES = {"count": ("_total",), "gauge": ("",), "seconds": ("_bucket", "_sum", "_count")}


def run(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["cloud", "helper"])
def test_compose(name: str) -> None:
    path = DEPLOY / "docker" / f"{name}.compose.yaml"
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    for place in re.findall(r"- (\.\./[\w./-]+):", path.read_text()):
        assert (path.parent / place).is_file(), place


@pytest.mark.parametrize("name", ["cloud", "helper"])
def test_kubernetes(name: str) -> None:
    path = DEPLOY / "kubernetes" / f"{name}.yaml"
    assert "passed" in run(BIN / "kubernetes-validate", "--strict", path)
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] == "StatefulSet":
            pod = document["spec"]["template"]
            assert document["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            (container,) = pod["spec"]["containers"]
            # fsGroup makes every file of a secret readable for the group, and libpq ignores such a password file
            assert "PGPASSFILE" not in {e["name"] for e in container.get("env", [])}
            claimed = {c["metadata"]["name"] for c in document["spec"]["volumeClaimTemplates"]}
            known = claimed | {v["name"] for v in pod["spec"]["volumes"]}
            assert {m["name"] for m in container["volumeMounts"]} == known


@pytest.mark.parametrize("name", ["cloud", "helper"])
def test_systemd(name: str, tmp_path: Path) -> None:
    """The unit parses without a warning but for what is not installed here, and is well locked up."""
    unit = (DEPLOY / "systemd" / f"blindsight-{name}.service").read_text()
    program = BIN / f"blindsight-{name}"
    assert program.is_file() and f"/opt/blindsight/bin/{program.name} " in unit
    here = tmp_path / f"blindsight-{name}.service"
    here.write_text(unit.replace("/opt/blindsight/bin", str(BIN)))
    said = [line for line in run("systemd-analyze", "verify", here).splitlines() if here.name in line]
    assert said == []
    level = re.search(
        r"exposure level for \S+: ([\d.]+)", run("systemd-analyze", "security", "--offline=true", here)
    )
    assert level is not None and float(level[1]) < 2.0


def commands() -> list[list[str]]:
    """The arguments of every container that is one of ours."""
    out = []
    for path in sorted((DEPLOY / "docker").glob("*.compose.yaml")):
        services = yaml.safe_load(path.read_text())["services"].values()
        out += [s["command"] for s in services if s["image"].startswith("blindsight")]
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        sets = [d for d in yaml.safe_load_all(path.read_text()) if d["kind"] == "StatefulSet"]
        out += [d["spec"]["template"]["spec"]["containers"][0]["args"] for d in sets]
    return out


def test_settings_are_real(tmp_path: Path) -> None:
    """Every `--set` is one the service takes, the shards are divided without a gap, pairs have names of their own."""
    (tmp_path / "cloud.toml").write_text('data = "d"\nmodels = "m"\nstore = "postgresql://localhost/bs"\n')
    (tmp_path / "helper.toml").write_text('data = "d"\nplans = "p"\nmaster = "k"\n')
    found: dict[str, list[CloudConfig]] = {}
    for number, (who, _, file, *rest) in enumerate(commands()):
        overrides = [value for flag, value in zip(rest[::2], rest[1::2], strict=True) if flag == "--set"]
        assert Path(file).name == f"{who}.toml" and len(overrides) * 2 == len(rest)
        if who == "helper":
            load(HelperConfig, tmp_path / "helper.toml", overrides)
            continue
        settings = load(
            CloudConfig, tmp_path / "cloud.toml", [v.replace("$(POD)", "worker-0") for v in overrides]
        )
        found.setdefault("compose" if number < 5 else "kubernetes", []).append(settings)
    for group in found.values():
        shards = "".join(s.shards for s in group if s.ingress)
        assert sorted(shards) == sorted("0123456789abcdef")
        prefixes = [s.workers.prefix for s in group if s.workers.count]
        assert prefixes and len(prefixes) == len(set(prefixes))
    assert set(found) == {"compose", "kubernetes"}


def settings(kind: type, prefix: str = "") -> set[str]:
    """Names of all settings of a service, tables joined by a dot."""
    names = set()
    for field in dataclasses.fields(kind):
        inner = get_type_hints(kind)[field.name]
        names |= (
            settings(inner, f"{field.name}.") if dataclasses.is_dataclass(inner) else {prefix + field.name}
        )
    return names


@pytest.mark.parametrize(("file", "kind"), [("cloud.toml", CloudConfig), ("helper.toml", HelperConfig)])
def test_every_setting_is_explained(file: str, kind: type) -> None:
    """The table of docs/operations.md names every setting and no other; a row's later names are of its table too."""
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = text.split(f"| {file} |")[1].split("\n\n")[0].splitlines()[2:]
    known, explained = settings(kind), set()
    for row in rows:
        table = ""
        for name in re.findall(r"`([a-z_.*]+)`", row.split("|")[1]):
            table = name.rpartition(".")[0] or table
            full = name if "." in name or not table else f"{table}.{name}"
            full = full if full in known or full.endswith("*") else name
            explained |= {k for k in known if k.startswith(full[:-1])} if full.endswith("*") else {full}
    assert explained == known


def metrics() -> set[str]:
    """Every name the services count under, from their calls, and the process's own."""
    names = set()
    for room, prefix in (("cloud", "blindsight_cloud_"), ("helper", "blindsight_helper_")):
        for path in (ROOT / room).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    owner = ast.unparse(node.func.value)
                    if owner.endswith("metrics") and node.func.attr in SUFFIXES:
                        assert isinstance(node.args[0], ast.Constant), ast.unparse(node)
                        names |= {prefix + node.args[0].value + s for s in SUFFIXES[node.func.attr]}
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return names | {sample.name for family in registry.collect() for sample in family.samples}


def expressions() -> list[str]:
    board = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    out = [t["expr"] for panel in board["panels"] for t in panel.get("targets", [])]
    alerts = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())
    return out + [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]


def test_dashboard_and_alerts_show_metrics_that_exist() -> None:
    known = metrics()
    assert len(expressions()) > 25 and "blindsight_cloud_answer_seconds_bucket" in known
    for expression in expressions():
        used = re.findall(r"\b(?:blindsight|process)_[a-z_]+", expression)
        assert used and set(used) <= known, (expression, set(used) - known)


def test_dashboard_panels_do_not_overlap() -> None:
    board = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        g = panel["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert not cells & taken and g["x"] + g["w"] <= 24
        taken |= cells
    ids = [p["id"] for p in board["panels"]]
    assert len(ids) == len(set(ids))


def test_prometheus_scrapes_what_compose_runs() -> None:
    services = yaml.safe_load((DEPLOY / "docker" / "cloud.compose.yaml").read_text())["services"]
    scraped = yaml.safe_load((DEPLOY / "monitoring" / "prometheus.yaml").read_text())
    targets = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    ours = {name for name, s in services.items() if s["image"].startswith("blindsight")}
    assert {t.split(":")[0] for t in targets} == ours
