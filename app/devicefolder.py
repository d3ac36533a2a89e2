"""A device's directory, `devices/NAME`: what goes to the board. Where the helper's half of a set-up and the broker's
authority are on two machines, each writes its part: secrets and settings there, certificate or account here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blindsight.helper.keys import Provision
from blindsight.nn.plan import Plan
from blindsight.offline.cursor import write_durably

SETTINGS = "config.json"


class FolderError(Exception):
    """The directory cannot be used; one line that names the fix."""


def write(
    folder: Path,
    provision: Provision,
    plan: Plan,
    mode: str,
    broker: dict[str, Any],
    settings: dict[str, Any],
) -> Path:
    """config.json, secret.bin and pk.bin, mode 0600; `settings` come last and win."""
    config = {
        "device": provision.device,
        "epoch": provision.epoch,
        "model": plan.name,
        "plan_hash": plan.hash.hex(),
        "labels": list(plan.labels),
        "reveal": plan.reveal.mode,
        "output_scale_bits": plan.result_scale,
        "mode": mode,
        "height": plan.height,
        "width": plan.width,
        "channels": plan.channels,
        "polys_per_block": 4,
        "broker": broker,
        "camera": {"kind": "replay", "path": "frames.bin"},
        "interval_s": 0,
        "count": 0,
        **settings,
    }
    _keep(folder, config)
    write_durably(folder / "secret.bin", provision.secret)
    write_durably(folder / "pk.bin", provision.public_key)
    return folder


def read(folder: Path, device: str) -> dict[str, Any]:
    """config.json of the directory of `device`, checked as far as it is used here."""
    path = folder / SETTINGS
    try:
        config = json.loads(path.read_text())
        if type(config["epoch"]) is not int or type(config["broker"]) is not dict:
            raise TypeError
        if config["device"] != device:
            raise FolderError(f"{path} is of {config['device']!r}, not of {device!r}: bring the right folder")
    except FileNotFoundError:
        raise FolderError(
            f"{path}: no such file: make the folder with `blindsight keys device {device}` on the helper's machine, "
            "and bring it here"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise FolderError(
            f"{path} is not the settings of a device: make the folder again with `blindsight keys device {device}`"
        ) from None
    return dict(config)


def give_account(folder: Path, device: str, user: str, password: str) -> None:
    """Writes how the device gets into the broker."""
    config = read(folder, device)
    config["broker"] |= {"user": user, "password": password}
    _keep(folder, config)


def _keep(folder: Path, config: dict[str, Any]) -> None:
    write_durably(folder / SETTINGS, json.dumps(config, indent=1).encode())
