"""`blindsight-pi DIRECTORY`: run the device whose config.json, secret.bin and pk.bin lie in DIRECTORY.

Events go to standard output, one JSON object a line. Ends with 0 when `count` pictures are answered or a reboot was
asked for (systemd starts it again), with 2 on a configuration that cannot work.
"""

from __future__ import annotations

import argparse
import os
import sys

from blindsight_pi import port


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="blindsight-pi", description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="device directory, as `blindsight hw provision` writes it")
    where = os.path.abspath(parser.parse_args().directory)
    port.install()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    from bsdev import config
    from bsdev.device import Device
    from bsdev.picture import Sender

    try:
        cfg = config.load(where)
        device = Device(cfg, Sender(cfg, config.derive(cfg)))
    except ValueError as e:
        sys.exit(_complain(str(e)))
    try:
        device.run()
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(message: str) -> int:
    print(f"blindsight-pi: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
