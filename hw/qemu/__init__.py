"""The device core measured on emulated boards, exact to the instruction.

`measure(target)` builds the test program (known answers, then every mode and stage) for one target, runs it under QEMU
with a counting plugin and returns the object of DESIGN section 9. QEMU counts instructions, never cycles or joules.
"""

from blindsight.hw.qemu.measure import MeasureError, measure
from blindsight.hw.qemu.targets import TARGETS, Target

__all__ = ["TARGETS", "MeasureError", "Target", "measure"]
