# Frozen into a custom MicroPython build for ESP32 or RP2: FROZEN_MANIFEST=.../device_fw/app/manifest.py
include("$(PORT_DIR)/boards/manifest.py")  # noqa: F821 - what the port itself needs (_boot.py mounts the flash)
package("bsdev", opt=3)  # noqa: F821
module("main.py", opt=3)  # noqa: F821
