"""`import blindsight`: small, quick to import, typed, documented, and what its docstrings say is so."""

import doctest
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import blindsight
from blindsight.app import api, pair
from blindsight.models import zoo
from blindsight.nn.model import Model

ROOT = Path(__file__).parents[2]
SAMPLE = """
import asyncio
import numpy as np
import blindsight

def use(folder: str) -> tuple[str, float]:
    x, y = blindsight.sample_pictures("mnist", 2)
    model: blindsight.Model = blindsight.load_model("mnist")
    with blindsight.LocalPair("mnist", link=blindsight.Link(1e8, 0.01), batch=2) as pair:
        result: blindsight.Result = pair.classify(x[0])
        many: list[blindsight.Result] = pair.classify_many([x[0], x[1]])
    clock: float = blindsight.load_profile("esp32-c3")["compute.clock"].value
    cost: blindsight.Cost = blindsight.estimate_cost("pi-5", model=model, ingest="aes")
    band: blindsight.Band = cost.seconds
    async def send() -> blindsight.Answer:
        async with blindsight.SecureClient(folder) as client:
            return await client.classify(x[0], timeout=5)
    answer = asyncio.run(send())
    return result.label + many[0].label + (answer.label or "") + blindsight.__version__, band.mid + clock
"""
SKIPPED = [f"blindsight.{room}" for room in ("he", "mpc", "ot", "offline", "service")] + [  # no types of the surface
    "torch", "matplotlib", "rich", "typer", "cryptography", "nacl", "paho", "safetensors",
]  # fmt: skip
WRONG = """
import blindsight
blindsight.estimate_cost("pi-5", ingest="rsa")
blindsight.LocalPair("mnist").classify("picture")
blindsight.nothing
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_quick_and_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import blindsight; print(len(set(sys.modules) - before), 'numpy' in sys.modules)"
    new, numpy = run(code).split()
    assert int(new) < 60 and numpy == "False"


def test_every_name_resolves_without_pytorch() -> None:
    code = "import sys; sys.modules['torch'] = None; from blindsight import *; import blindsight; print(len(blindsight.__all__))"
    assert int(run(code)) == len(blindsight.__all__)
    assert len(set(blindsight.__all__)) == len(blindsight.__all__)
    assert set(blindsight.__all__) <= set(dir(blindsight))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        blindsight.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_every_name_is_documented() -> None:
    for name in blindsight.__all__:
        thing = getattr(blindsight, name)
        if callable(thing):
            assert len(inspect.getdoc(thing) or "") > 15, name
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "api-page", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [blindsight, api, pair], ids=lambda m: m.__name__)
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(importlib.reload(module) if module is blindsight else module).failed == 0  # type: ignore[arg-type]


def check_types(folder: Path, code: str) -> str:
    """mypy --strict of a user's file against the package as it is installed."""
    package = folder / "site" / "blindsight"
    package.mkdir(parents=True)
    for part in (ROOT / "src" / "blindsight").iterdir():
        (package / part.name).symlink_to(part)
    for room in ("app", "cloud", "helper", "hw", "models", "simulator"):
        (package / room).symlink_to(ROOT / room)
    (folder / "use.py").write_text(code)
    skipped = "".join(
        f"[mypy-{m}.*]\nfollow_imports = skip\n" for m in ("torch", "matplotlib", "rich", "typer")
    )
    (folder / "mypy.ini").write_text("[mypy]\nstrict = True\nfollow_imports = silent\n" + skipped)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "use.py"], cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "MYPYPATH": str(folder / "site")},
    )  # fmt: skip
    return done.stdout


def test_a_users_program_passes_strict_typing(tmp_path: Path) -> None:
    """And wrong uses are caught: the types are there, not Any."""
    said = check_types(tmp_path, SAMPLE + WRONG)
    lines = [line for line in said.splitlines() if "error:" in line]
    first = len(SAMPLE.splitlines())
    assert len(lines) == 3 and all(int(line.split(":")[1]) > first for line in lines), said
    assert "arg-type" in lines[0] and "arg-type" in lines[1] and "attr-defined" in lines[2]


def test_load_model_takes_names_and_files(tmp_path: Path) -> None:
    model = blindsight.load_model("mnist")
    assert isinstance(model, Model)
    assert blindsight.load_model(zoo.path("mnist")).plan.hash == model.plan.hash
    with pytest.raises(Exception, match="there are"):
        blindsight.load_model("nope")
    (tmp_path / "x.bsm").write_bytes(b"not a model")
    with pytest.raises(blindsight.PlanError):
        blindsight.load_model(tmp_path / "x.bsm")


def test_load_picture(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((90, 200, 3), 77, np.uint8)).save(tmp_path / "p.png")
    assert blindsight.load_picture(tmp_path / "p.png", "cifar").shape == (32, 32, 3)
    assert (blindsight.load_picture(tmp_path / "p.png", "mnist") == 77).all()
    with pytest.raises(blindsight.ClientError):
        blindsight.load_picture(tmp_path / "none.png", "cifar")


def test_costs_follow_what_is_asked() -> None:
    one = blindsight.estimate_cost("esp32-c3", shape=(32, 32, 3), ingest="rlwe")
    assert one.to_json() == blindsight.estimate_cost("esp32-c3", model="cifar").to_json()
    assert blindsight.estimate_cost("esp32-c3", shape=(224, 224, 3)).seconds.mid > one.seconds.mid
    assert blindsight.estimate_cost("esp32-c3", model="cifar", server_seconds=9).seconds.low > 9
    assert blindsight.estimate_cost("pi-5").workload.sleep == "none" and one.workload.sleep == "deep"
    with pytest.raises(blindsight.CostError):
        blindsight.estimate_cost("no-such-board", sleep="none")
    with pytest.raises(blindsight.ProfileError):
        blindsight.load_profile("no-such-chip")


def test_local_pair() -> None:
    """Answers are the float network's, figures are those of both parties, material is made when it is needed."""
    x, _ = blindsight.sample_pictures("mnist", 3)
    with blindsight.LocalPair("mnist", batch=2, threads=1) as running:
        assert running.labels[3] == "3" and running.ready == 0
        results = running.classify_many(x)
        assert [r.label for r in results] == ["7", "2", "1"] and running.ready == 1
        for r in results:
            assert r.revealed == (float(r.index),)
            assert r.bytes == sum(layer.bytes for layer in r.layers) > 50_000
            assert r.seconds > 0 and r.offline_bytes > 50_000 and r.rounds > 10
        for bad in (x, x[0][:20], x[0].astype(np.float32)):
            with pytest.raises(Exception, match=r"uint8|\(H, W\)"):
                running.classify(bad)
        assert running.classify(x[2][..., None]).label == "1"
    with pytest.raises(blindsight.PairError, match="inside `with"):
        running.classify(x[0])
    with pytest.raises(ValueError, match="batch"):
        blindsight.LocalPair("mnist", batch=17)


def test_a_pair_over_a_line() -> None:
    """A round trip of 50 ms is felt, and the answer is the same."""
    x, _ = blindsight.sample_pictures("mnist", 1)
    with blindsight.LocalPair("mnist", link=blindsight.Link(50e6, 0.05)) as running:
        running.prepare(1)
        assert running.ready == 1
        result = running.classify(x[0])
    assert result.label == "7" and result.seconds > 0.02 * result.rounds
