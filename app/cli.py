"""The command line: `blindsight`. Each command's module registers itself; importing this imports nothing
heavy.

`--json` prints exactly one JSON object on one line on standard output; progress and logs go to standard
error. An error is one line on standard error and a non-zero exit status.
"""

import importlib
import sys

import typer

COMMANDS = (
    "infer",
    "eval",
    "compile",
    "material",
    "demo_show",
    "services",
    "keys",
    "split",
    "store",
    "broker",
    "hw",
    "send",
    "bridge",
    "sim",
)  # modules of blindsight.app with `register(app)`


def build() -> typer.Typer:
    app = typer.Typer(
        name="blindsight",
        help="Classify pictures that nobody but their owner may see.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name in COMMANDS:
        importlib.import_module(f"blindsight.app.{name}").register(app)
    return app


def main() -> None:
    """Run the command; every failure that a user can meet is one line."""
    try:
        build()()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not is_users(error):
            raise
        print(f"blindsight: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def is_users(error: Exception) -> bool:
    """Errors of our own modules and of the file system are for the user; anything else is a defect and
    keeps its traceback.
    """
    return type(error).__module__.startswith("blindsight.") or isinstance(error, OSError)


if __name__ == "__main__":
    main()
