"""`blindsight hw`: signed updates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blindsight.app.options import JsonOption, answer
from blindsight.hw import profiles
from blindsight.hw.link import Link

PortArgument = Annotated[str, typer.Argument(help="/dev/ttyACM0, COM3 or rfc2217://host:port")]


def add_to(group: typer.Typer) -> None:
    """Adds update-key, sign, update."""

    @group.command("update-key")
    def update_key(
        secret: Annotated[Path, typer.Argument(help="file to make; keep it off every server and board")],
        public: Annotated[Path, typer.Argument(help="file to make; `provision --update-key` takes it")],
        as_json: JsonOption = False,
    ) -> None:
        """Make the key pair that signs updates."""
        from blindsight.hw.update import new_key

        new_key(secret, public)
        answer(
            as_json,
            {"secret": str(secret), "public": str(public)},
            f"{secret}: signs; {public}: for `blindsight hw provision --update-key`",
        )

    @group.command("sign")
    def sign(
        out: Annotated[Path, typer.Argument(help="package to write", dir_okay=False)],
        key: Annotated[Path, typer.Option(help="secret of `update-key`", dir_okay=False)],
        counter: Annotated[int, typer.Option(min=1, help="above every one signed before")],
        board: Annotated[str, typer.Option(help="a board of `hw list`")] = "",
        arch: Annotated[str, typer.Option(help="or its .mpy architecture, e.g. x64")] = "",
        as_json: JsonOption = False,
    ) -> None:
        """Sign this checkout's application for boards of one architecture."""
        from blindsight.hw import update as updates

        target = arch or (profiles.load_board(board).mpy if board else "")
        if not target:
            raise updates.UpdateError("say for which board: --board NAME that runs MicroPython, or --arch")
        out.write_bytes(updates.sign(key, counter, target))
        size = out.stat().st_size
        answer(
            as_json,
            {"package": str(out), "arch": target, "counter": counter, "bytes": size},
            f"{out}: {size:,} bytes for {target}, counter {counter}",
        )

    @group.command("update")
    def update(
        port: PortArgument,
        package: Annotated[Path, typer.Argument(help="file of `sign`", dir_okay=False)],
        as_json: JsonOption = False,
    ) -> None:
        """Bring a signed version to a board, which checks it, tries it and goes back unless it proves healthy."""
        from blindsight.hw import update as updates

        manifest = updates.update(Link(port), updates.read_package(package))
        answer(
            as_json,
            {"version": manifest["version"], "counter": manifest["counter"]},
            f"{port}: version {manifest['version']} is accepted and on trial at the next start\n"
            f"next: blindsight hw monitor {port} --until healthy",
        )
