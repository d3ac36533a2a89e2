"""The application in a board's ROMFS partition: code runs from flash and takes no heap.

The partition is written in place by `mpremote romfs`. While that lasts, the board runs the version of a slot if one is
whole, else none, and says so; a deployment that was cut is finished by running it again. MicroPython does not boot from
ROMFS: the launcher and /app.json stay on the file system.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from blindsight.hw.deploy import APP, Deployed, digest, look, switch, version_of
from blindsight.hw.link import Link, LinkError


def build_image(link: Link, files: dict[str, bytes], out: Path) -> int:
    """A ROMFS image of files already compiled, by mpremote; its size."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        link.local("romfs", "--no-mpy", "-o", str(out), "build", folder, doing="building the ROMFS image")
    return out.stat().st_size


def partition_size(link: Link) -> int:
    """Bytes of the board's ROMFS partition; LinkError when it has none."""
    said = link.mpremote("romfs", "query", doing="asking for its ROMFS partition")
    found = re.search(r"ROMFS0 partition has size (\d+) bytes", said)
    if found is None:
        raise LinkError(
            f"{link.port}: this firmware has no ROMFS partition: flash a build that has one, or deploy without --to romfs"
        )
    return int(found[1])


def deploy_romfs(link: Link, app: Path = APP) -> Deployed:
    """Installs the application of this checkout into ROMFS; a second run sends nothing."""
    present = look(link, app)
    state, sent = present.state, 0
    settled = state.get("active") == "rom" and present.holds("rom") and not state.get("trial")
    if not present.holds("rom"):
        room = partition_size(link)
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "app.romfs"
            size = build_image(link, present.wanted, image)
            if size > room:
                raise LinkError(
                    f"{link.port}: the application takes {size:,} bytes, its ROMFS has {room:,}: deploy without --to"
                )
            if state.get("active") == "rom":
                whole = [s for s in ("a", "b") if f"/{s}/bsmain.mpy" in present.board["files"]]
                aside = {k: v for k, v in state.items() if k != "trial"} | {"active": (whole or ["none"])[0]}
                link.commit("setting the old version aside", {}, write={"/app.json": json.dumps(aside)})
            link.mpremote("romfs", "deploy", str(image), doing="writing its ROMFS", seconds=300)
            sent = size
        present = look(link, app)
        if not present.holds("rom"):
            raise LinkError(f"{link.port}: its ROMFS does not hold what was sent: run the same command again")
    files, more = switch(link, present, "rom", app, settled)
    count = files + (len(present.wanted) if sent else 0)
    return Deployed(count, sent + more, "rom", version_of(app), digest(present.wanted), present.arch)
