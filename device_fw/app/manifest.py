# Frozen into a custom MicroPython build: FROZEN_MANIFEST=.../device_fw/app/manifest.py
package("bsdev", opt=3)  # noqa: F821
module("main.py", opt=3)  # noqa: F821
