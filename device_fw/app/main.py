"""Start the device: `micropython main.py DEVICE_DIR`, or from boot on a board (directory /bs, else the flash root).

A file hook.py beside this one (or in DEVICE_DIR) may define on_result(label, index).
"""

import gc
import os
import sys

gc.threshold(16384)  # collect early: the peak stays near what is live


def directory():
    if len(sys.argv) > 1:
        return sys.argv[1].rstrip("/")
    try:
        os.stat("/bs/config.json")
        return "/bs"
    except OSError:
        return ""


def main():
    from bsdev.config import ConfigError
    from bsdev.device import Device

    where = directory()
    sys.path.append(where or "/")
    try:
        from hook import on_result
    except ImportError:
        on_result = None
    try:
        device = Device(where, on_result)
    except (ConfigError, ValueError) as e:
        print("blindsight: " + str(e), file=sys.stderr)
        sys.exit(2)
    device.run()


main()
