"""The pytest side: options, the `dut` fixture, marks, what is counted and written at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from blindsight.hw.hil.bodies import BodyError, Dut, Spec, choose, make, read_map

NO_BODY = "no board: name one with --body (unix, qemu-m4, serial:PORT, ...) or --hardware-map FILE"
SPECS = pytest.StashKey[list[Spec]]()
METRICS = pytest.StashKey[list[dict[str, Any]]]()
COUNTS = pytest.StashKey[dict[str, dict[str, int]]]()
DEVICES = pytest.StashKey[dict[str, Any]]()


def needs(*capabilities: str) -> pytest.MarkDecorator:
    """Run the test only on bodies that have all of these (`counts`, `micropython`, `network`, `real`, ...)."""
    return pytest.mark.needs(*capabilities)


def quarantine(reason: str, *bodies: str) -> pytest.MarkDecorator:
    """Let the test fail for now, on these bodies or on all; it is run, counted apart, and never a pass."""
    return pytest.mark.quarantine(reason, *bodies)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("blindsight boards")
    group.addoption(
        "--body", default="", help="bodies, by comma: unix, qemu-m4, ..., serial:PORT, id of the map, map"
    )
    group.addoption("--hardware-map", default=None, help="YAML file of the boards on the bench")
    group.addoption("--hil-deploy", action="store_true", help="real boards may be written to")
    group.addoption("--hil-metrics", default=None, help="JSONL file to append measurements to")
    group.addoption("--hil-summary", default=None, help="JSON file for the counts of each body")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(capability, ...): runs only on bodies that have them all")
    config.addinivalue_line("markers", "quarantine(reason, *bodies): may fail for now (there, or anywhere)")
    path = config.getoption("--hardware-map")
    try:
        boards = read_map(Path(path)) if path else {}
        config.stash[SPECS] = choose(config.getoption("--body"), boards)
    except BodyError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[METRICS] = []
    config.stash[COUNTS] = {
        s.name: {"passed": 0, "failed": 0, "skipped": 0, "quarantined": 0} for s in config.stash[SPECS]
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "dut" not in metafunc.fixturenames:
        return
    specs = metafunc.config.stash[SPECS]
    if specs:
        metafunc.parametrize("dut", specs, indirect=True, ids=[s.name for s in specs])
    else:
        none = pytest.param(None, marks=pytest.mark.skip(reason=NO_BODY), id="none")
        metafunc.parametrize("dut", [none], indirect=True)


def _spec(item: pytest.Item) -> Spec | None:
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get("dut") if callspec else None
    return found if isinstance(found, Spec) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A quarantined test runs, is shown, and fails nobody."""
    for item in items:
        spec = _spec(item)
        if spec is None:
            continue
        reasons = [spec.quarantine] if spec.quarantine else []
        for mark in item.iter_markers("quarantine"):
            if len(mark.args) < 2 or spec.name in mark.args[1:]:
                reasons.append(mark.args[0])
        if reasons:
            item.add_marker(pytest.mark.xfail(reason=f"quarantine: {'; '.join(reasons)}", strict=False))


@pytest.fixture
def dut(request: pytest.FixtureRequest) -> Iterator[Dut]:
    """The device under test, one after the other for each body; skipped where it lacks what the test needs."""
    spec: Spec = request.param
    config = request.config
    made = _devices(config)
    if spec.name not in made:
        try:
            made[spec.name] = make(spec, config.getoption("--hil-deploy"))
        except Exception as error:
            made[spec.name] = error
    device = made[spec.name]
    if isinstance(device, Exception):
        pytest.fail(f"{spec.name} cannot be used: {device}", pytrace=False)
    wanted = {w for mark in request.node.iter_markers("needs") for w in mark.args}
    missing = sorted(wanted - device.capabilities)
    if missing:
        pytest.skip(f"{spec.name} has no {', '.join(missing)}")
    device.metrics.clear()
    yield device
    config.stash[METRICS] += [{"body": spec.name, **device.facts, **row} for row in device.metrics]


def _devices(config: pytest.Config) -> dict[str, Any]:
    """Devices made so far (or why not), by name: each is set up once a run."""
    if DEVICES not in config.stash:
        config.stash[DEVICES] = {}
    return config.stash[DEVICES]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Counts for the table: a failed set-up is a failure; what is skipped or quarantined is never a pass."""
    report = yield
    spec = _spec(item)
    if spec is None:
        return report
    counts = item.config.stash[COUNTS][spec.name]
    if hasattr(report, "wasxfail"):
        counts["quarantined"] += report.when == "call" or report.outcome == "skipped"
    elif report.failed:
        counts["failed"] += 1
    elif report.skipped:
        counts["skipped"] += 1
    elif report.when == "call":
        counts["passed"] += 1
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    for device in _devices(config).values():
        if isinstance(device, Dut):
            device.close()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    path = config.getoption("--hil-metrics")
    if path and config.stash[METRICS]:
        with open(path, "a") as f:
            f.writelines(json.dumps({"run": now, **row}) + "\n" for row in config.stash[METRICS])
    summary = config.getoption("--hil-summary")
    if summary:
        Path(summary).write_text(json.dumps({"bodies": config.stash[COUNTS], "run": now}))
