"""`blindsight hw emulate`: a board that is not there, to try the other commands on."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from blindsight.hw import profiles
from blindsight.hw.emulated import EmulatedBoard, EmulationError
from blindsight.hw.emulated_esp import EspBoard, stand_in_firmware


def add_to(group: typer.Typer) -> None:
    """Adds emulate."""

    @group.command("emulate")
    def emulate(
        folder: Annotated[
            Path, typer.Argument(help="the board's flash and files; kept between runs", file_okay=False)
        ],
        board: Annotated[str, typer.Option(help="a board of `hw list` that runs MicroPython")] = "esp32-c3",
        link: Annotated[Path | None, typer.Option(help="name for its port, a symbolic link to make")] = None,
        firmware: Annotated[
            Path | None, typer.Option(help="write an image to flash here, if there is none", dir_okay=False)
        ] = None,
        romfs: Annotated[int, typer.Option(min=0, help="KiB of a ROMFS partition")] = 0,
    ) -> None:
        """A board on a pseudo-terminal: ESP32 loader and flash for esptool, MicroPython (the unix port) for the rest. Ctrl-C
        pulls its plug.
        """
        known = profiles.load_board(board)
        if known.install != "micropython":
            raise EmulationError(
                f"{known.title} does not run MicroPython: choose another board of `blindsight hw list`"
            )
        if known.flash and firmware and not firmware.exists():
            firmware.write_bytes(stand_in_firmware(known.flash.chip, known.flash.offset))
            typer.echo(f"{firmware}: boots on this emulated board, does nothing on a real one", err=True)
        more = {"romfs": romfs << 10, "camera": known.camera != "none"}
        where = known.flash
        made = (
            EspBoard(folder, where.chip, where.offset, **more)
            if where
            else EmulatedBoard(folder / "files", **more)
        )
        with made:
            if link is not None:
                if link.is_symlink():  # of a run that was killed
                    link.unlink()
                link.symlink_to(made.port)
            typer.echo(f"{link or made.port}: {known.title}, emulated; Ctrl-C pulls its plug")
            try:
                wait_for_the_end()
            finally:
                if link is not None and link.is_symlink() and os.readlink(link) == made.port:
                    link.unlink()


def wait_for_the_end() -> None:
    """Until SIGINT or SIGTERM."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(1):
        pass
