"""Start the device: `micropython main.py DEVICE_DIR`, or from boot on a board (directory /bs, else the flash
root).

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


def unload(name):
    """Forget a module of ours that is done."""
    import bsdev

    del sys.modules["bsdev." + name]
    delattr(bsdev, name)


def main():
    where = directory()
    sys.path.append(where or "/")
    try:
        # Large modules before the buffers and these before the rest: compiling takes five times a file's size
        # from the heap, and what it leaves behind lies in pieces.
        from bsdev import config, mqtt  # noqa: F401

        cfg = config.load(where)
        keys = config.derive(cfg)
        del config
        unload("config")
        if cfg.hold:
            from bsdev import hold  # noqa: F401
        if cfg.home:
            from bsdev import home  # noqa: F401
        from bsdev.picture import Sender

        sender = Sender(cfg, keys)
        gc.collect()
        from bsdev.device import Device

        try:
            from hook import on_result
        except ImportError:
            on_result = None
        device = Device(cfg, sender, on_result)
    except ValueError as e:
        print("blindsight: " + str(e), file=sys.stderr)
        sys.exit(2)
    try:
        device.run()
    except Exception as e:
        from bsdev import power

        power.recover(e)


main()
