"""requirements.lock holds what pyproject.toml asks for, with hashes and no index; the SBOM lists it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lock_file_is_whole() -> None:
    lock = tool("lock")
    have = lock.locked((ROOT / "requirements.lock").read_text())
    assert {lock.name(line) for line in lock.wanted()} <= set(have)
    assert "torch" not in have and len(have) > 60


@pytest.mark.parametrize(
    "line", ["--index-url x", "--find-links y", "a @ https://example.org/a.whl", "a==1\n"]
)
def test_a_lock_file_that_names_an_index_or_lacks_a_hash_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"index|hash"):
        tool("lock").locked(f"b==1 --hash=sha256:{'0' * 64}\n{line}")


def test_the_sbom_is_cyclonedx() -> None:
    import json

    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bom = tool("sbom").bom()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None
    have = tool("lock").locked((ROOT / "requirements.lock").read_text())
    listed = {c["name"]: c["version"] for c in bom["components"]}
    assert listed.pop("torch") and listed == have
    assert all(c["hashes"] for c in bom["components"] if c["name"] != "torch")
    assert bom == tool("sbom").bom()
