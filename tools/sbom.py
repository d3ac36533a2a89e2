#!/usr/bin/env python3
"""`make sbom`: a CycloneDX 1.6 list of what Blindsight is made of: itself, and every package of requirements.lock with its
version and hashes. Written by hand rather than from an environment, so that it says the same on every machine.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def components(text: str) -> list[dict[str, Any]]:
    """One object a locked package."""
    out = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s\\;]+)", block)
        if match is None:
            continue
        found, version = re.sub(r"[-_.]+", "-", match[1]).lower(), match[2]
        hashes = sorted(set(re.findall(r"--hash=sha256:([0-9a-f]{64})", block)))
        purl = f"pkg:pypi/{found}@{version}"
        out.append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": found,
                "version": version,
                "purl": purl,
                "hashes": [{"alg": "SHA-256", "content": h} for h in hashes],
            }
        )
    return out


def bom() -> dict[str, Any]:
    """The whole document; the same for the same lock file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text()
    listed = components(lock)
    torch = next(r for r in project["optional-dependencies"]["train"] if r.startswith("torch=="))
    version = torch.split("==")[1]
    purl = f"pkg:pypi/torch@{version}"
    listed.append(
        {
            "type": "library",
            "bom-ref": purl,
            "name": "torch",
            "version": version,
            "purl": purl,
            "scope": "optional",
        }
    )
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, own + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "purl": own,
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": listed,
        "dependencies": [{"ref": own, "dependsOn": sorted(c["bom-ref"] for c in listed)}],
    }


def main() -> None:
    """Writes the file named on the command line, or sbom.json."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "sbom.json"
    document = bom()
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{path}: {len(document['components'])} components")


if __name__ == "__main__":
    main()
