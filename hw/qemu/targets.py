"""The emulated boards: compiler, flags, platform file and QEMU command of each."""

from __future__ import annotations

from dataclasses import dataclass

_BARE = "-ffreestanding -fno-builtin -nostartfiles -nostdlib -fno-tree-loop-distribute-patterns -Wl,--no-warn-rwx-segments"
_QUIET = "-nographic -monitor none -serial none"
_SEMIHOSTING = "-semihosting-config enable=on,target=native"


@dataclass(frozen=True)
class Target:
    """One target. `prefix` names the toolchain; `platform` the files of board/ that go with the program."""

    name: str
    prefix: str
    machine: str  # flags that choose the instruction set
    platform: tuple[str, ...]
    link: str
    qemu: str  # the ELF's path follows (user mode) or `-kernel` ends it (system mode)
    stands_for: str
    optimise: str = "-O2"

    @property
    def system(self) -> bool:
        """Whether QEMU emulates a whole board, rather than a Linux process."""
        return self.qemu.endswith("-kernel")

    @property
    def flags(self) -> str:
        """Compiler flags of the core."""
        return f"{self.optimise} {self.machine}"

    @property
    def build_flags(self) -> str:
        """Flags of the whole program beside `flags`."""
        return f"-std=gnu99 {_BARE if self.system else '-static'}"


def _cortex_m(name: str, cpu: str, board: str, stands_for: str) -> Target:
    return Target(
        name,
        "arm-none-eabi-",
        f"-mcpu={cpu} -mthumb",
        ("cortex_m.c",),
        "-T cortex_m.ld -lgcc",
        f"qemu-system-arm -M {board} {_QUIET} {_SEMIHOSTING} -kernel",
        stands_for,
    )


TARGETS = {
    t.name: t
    for t in (
        _cortex_m("cortex-m4", "cortex-m4", "mps2-an386", "STM32F4/L4, nRF52, RP2350 (M33, close)"),
        # QEMU has no M0+ with RAM enough; an M4 runs the same instructions
        _cortex_m("cortex-m0plus", "cortex-m0plus", "mps2-an386", "RP2040 (Raspberry Pi Pico W)"),
        _cortex_m("cortex-m7", "cortex-m7", "mps2-an500", "STM32F7/H7, Teensy 4, OpenMV H7"),
        Target(
            "rv32imc",
            "riscv64-unknown-elf-",
            "-misa-spec=2.2 -march=rv32imc -mabi=ilp32",
            ("riscv.c",),
            "-T riscv.ld -lgcc",
            f"qemu-system-riscv32 -M virt -bios none {_QUIET} {_SEMIHOSTING} -kernel",
            "ESP32-C3",
        ),
        Target(
            "xtensa",
            "xtensa-lx106-elf-",
            "-mlongcalls -mtext-section-literals",
            ("xtensa.c",),
            "-T xtensa.ld -lgcc",
            f"qemu-system-xtensa -M sim -cpu lx106 {_QUIET} -semihosting -kernel",
            "ESP8266; an upper bound for ESP32 and ESP32-S3, which multiply 32x32 to 64",
        ),
        Target(
            "aarch64",
            "aarch64-linux-gnu-",
            "-mcpu=cortex-a53",
            ("linux.c",),
            "",
            "qemu-aarch64 -cpu cortex-a53",
            "Raspberry Pi 3, Zero 2 W (64-bit)",
        ),
        Target(
            "armv7",
            "arm-linux-gnueabihf-",
            "-mcpu=cortex-a7 -mfpu=neon-vfpv4",
            ("linux.c",),
            "",
            "qemu-arm -cpu cortex-a7",
            "Raspberry Pi 2 and later on 32-bit systems",
        ),
    )
}
