"""The command line: `blindsight`. Each command's module registers itself; importing this imports nothing
heavy.

`--json` prints exactly one JSON object on one line on standard output; progress and logs go to standard
error. An error is one line on standard error and a non-zero exit status.
"""

import importlib
import sys

import typer

from blindsight.errors import quoted

MAX_LINE = 2000  # of an error that is not `OneLine`
# command -> the modules of blindsight.app whose `register(app)` adds it, in the order of the help
COMMANDS = {
    "infer": ("infer",),
    "eval": ("eval",),
    "compile": ("compile",),
    "material": ("material",),
    "demo": ("demo_show",),
    "cloud": ("services",),
    "helper": ("services",),
    "keys": ("keys",),
    "model": ("model", "split"),
    "store": ("store",),
    "broker": ("broker",),
    "hw": ("hw",),
    "send": ("send",),
    "bridge": ("bridge",),
    "sim": ("sim",),
}


def build(command: str | None = None) -> typer.Typer:
    """All commands, or what `command` needs: a command waits for its own imports only."""
    app = typer.Typer(
        name="blindsight",
        help="Classify pictures that nobody but their owner may see.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # a command that is alone keeps its name
    known = COMMANDS.get(command or "")
    for name in known or dict.fromkeys(m for modules in COMMANDS.values() for m in modules):
        importlib.import_module(f"blindsight.app.{name}").register(app)
    return app


def main() -> None:
    """Run the command; every failure that a user can meet is one line."""
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else None)()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not is_users(error):
            raise
        print(f"blindsight: {quoted(_words(error), MAX_LINE)}", file=sys.stderr)
        sys.exit(1)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def is_users(error: Exception) -> bool:
    """Errors of our own modules and of the file system are for the user; anything else is a defect and
    keeps its traceback.
    """
    return type(error).__module__.startswith("blindsight.") or isinstance(error, OSError)


if __name__ == "__main__":
    main()
