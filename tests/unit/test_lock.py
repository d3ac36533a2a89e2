"""requirements.lock holds what pyproject.toml asks for, with hashes and no index; the SBOM lists it."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unmet(lock: ModuleType, lines: list[str], have: dict[str, str]) -> list[str]:
    """The requirements that the locked versions do not satisfy."""
    return [
        line
        for line in lines
        if lock.name(line) not in have or not Requirement(line).specifier.contains(have[lock.name(line)])
    ]


def test_the_lock_file_is_whole() -> None:
    lock = tool("lock")
    have = lock.locked((ROOT / "requirements.lock").read_text())
    assert unmet(lock, lock.wanted(), have) == []
    assert "torch" not in have and len(have) > 60
    old = {**have, lock.name("pytest"): "7.4"}
    assert unmet(lock, lock.wanted(), old) == ["pytest>=8"], "the check itself"


def test_the_image_takes_a_part_of_the_lock_file() -> None:
    """What the servers need, the same versions and hashes, and nothing that they do not; under the Python it is for."""
    lock = tool("lock")
    whole, part = (path.read_text() for path in (lock.LOCK, lock.SERVER_LOCK))
    have = lock.locked(part)
    assert unmet(lock, lock.wanted(*lock.SERVER_EXTRAS), have) == []
    assert have.items() <= lock.locked(whole).items() and not {"pytest", "uv", "tenseal"} & set(have)
    assert set(part.splitlines()) - set(whole.splitlines()) == set(lock.SERVER_HEADER.splitlines())
    image = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    assert f"--require-hashes -r {lock.SERVER_LOCK.name}" in image
    assert set(re.findall(r"^FROM python:(\S+)-slim", image, re.M)) == {"3.11"}


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
