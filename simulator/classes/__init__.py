"""Instructions by class (loads, stores, multiplies, taken branches, ...) of a program run under QEMU.

`python -m blindsight.simulator.classes --elf F --prefix arm-none-eabi- --qemu "qemu-system-arm ... -kernel"` prints the
JSON that simulator/data holds. hw/qemu builds the program and checks its answers; this only sorts what it executes.
"""

from blindsight.simulator.classes.count import CountError, classify, count

__all__ = ["CountError", "classify", "count"]
