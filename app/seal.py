"""`blindsight keys seal` and `unseal`: secret files under a passphrase."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from blindsight.app.options import JsonOption
from blindsight.service.secretfile import PASSPHRASE_FILE, read_passphrase, seal_file, unseal_file

Files = Annotated[
    list[Path], typer.Argument(help="master.key, secret.bin, a TLS key, a password file", dir_okay=False)
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(help="the passphrase, on one line, mode 0600; asked for where not given", dir_okay=False),
]


def add_to(keys: typer.Typer) -> None:
    """Adds both commands to the group."""

    @keys.command("seal")
    def seal(files: Files, passphrase_file: PassphraseOption = None, as_json: JsonOption = False) -> None:
        """Seal secret files in place (Argon2id, XChaCha20-Poly1305; TLS keys as encrypted PKCS #8)."""
        passphrase = _passphrase(passphrase_file, confirm=True)
        for file in files:
            seal_file(file, passphrase)
            if not as_json:
                typer.echo(f"{file}: sealed; services find the passphrase by {PASSPHRASE_FILE}=FILE")
        if as_json:
            typer.echo(json.dumps({"sealed": list(map(str, files))}))

    @keys.command("unseal")
    def unseal(files: Files, passphrase_file: PassphraseOption = None, as_json: JsonOption = False) -> None:
        """Undo `seal`."""
        passphrase = _passphrase(passphrase_file, confirm=False)
        for file in files:
            unseal_file(file, passphrase)
            if not as_json:
                typer.echo(f"{file}: not sealed any more")
        if as_json:
            typer.echo(json.dumps({"unsealed": list(map(str, files))}))


def _passphrase(file: Path | None, confirm: bool) -> bytes:
    if file is not None:
        return read_passphrase(file)
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm)).encode()
