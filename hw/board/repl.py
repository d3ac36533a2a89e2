# MicroPython: no contextlib, no zip(strict)
# mypy: ignore-errors
# ruff: noqa: SIM105
"""Makes the MicroPython unix port a board on a serial line: `micropython repl.py ROOT raw|main|idle [camera]`.

ROOT becomes the file system `/`. Standard input and output speak the raw REPL that mpremote speaks. A soft reset ends
the process with status 10 (raw) or 11 (friendly: boot.py and main.py run next), and hw/emulated.py starts it again, so
the heap is really fresh. On standard error, byte 14 means that a program runs now (Ctrl-C is then a signal), 15 that
it ended.
"""

import sys

import vfs

RAW = b"raw REPL; CTRL-B to exit\r\n>"
BANNER = b"MicroPython on an emulated board (unix port)\r\n>>> "


class Rom:
    """The ROMFS partition: bytes in memory as on a memory-mapped flash, kept in a file of the host."""

    def __init__(self, host: object, path: str) -> None:
        self._host, self._path = host, path
        with host.open(path, "rb") as f:
            self.data = bytearray(f.read())

    def ioctl(self, command: int, *args: object) -> object:
        """vfs.rom_ioctl: 1 segments, 2 the segment, 3 prepare to write, 4 write, 5 done, 6 block size."""
        if command == 1:
            return 1
        if not args or args[0] != 0:
            return -22
        if command == 2:
            return self.data
        if command == 3:
            return 4
        if command == 4:
            _, offset, buf = args
            self.data[offset : offset + len(buf)] = buf
            with self._host.open(self._path, "r+b") as f:
                f.seek(offset)
                f.write(buf)
            return 0
        return {5: 0, 6: 4096}.get(command, -22)


class Vfs:
    """The module `vfs` of a build with ROMFS, which the unix port's release is not."""

    def __init__(self, rom_ioctl: object) -> None:
        for name in dir(vfs):
            if not name.startswith("__"):
                setattr(self, name, getattr(vfs, name))
        self.rom_ioctl = rom_ioctl


def add_rom(host: object, path: str) -> None:
    """Mounts the partition at /rom, when there is one and it holds a file system."""
    try:
        rom = Rom(host, path)
    except OSError:
        return
    sys.modules["vfs"] = Vfs(rom.ioctl)
    sys.path[:] = ["", "/rom", ".frozen", "/lib", "/rom/lib"]
    try:
        vfs.mount(vfs.VfsRom(rom.data), "/rom")
    except (OSError, ValueError):
        pass


def add_camera(host: object, scene: str) -> None:
    """The module `camera`, part of the firmware of boards that have one."""
    sys.path.insert(0, __file__.rsplit("/", 1)[0])
    import camera_emulated

    sys.path.pop(0)
    camera_emulated.Camera = camera_emulated.make(host, scene)
    sys.modules["camera"] = camera_emulated


class Disk:
    """A folder of the host as the board's flash (VfsPosix with a root mishandles rename)."""

    def __init__(self, root: str) -> None:
        self.host, self.root, self.cwd = vfs.VfsPosix(), root, "/"

    def at(self, path: str) -> str:
        if not path.startswith("/"):
            path = self.cwd + path if self.cwd.endswith("/") else self.cwd + "/" + path
        if ".." in path.split("/"):
            raise OSError(22)
        return self.root + path

    def mount(self, readonly: bool, mkfs: bool) -> None:
        pass

    def umount(self) -> None:
        pass

    def open(self, path: str, mode: str) -> object:
        return self.host.open(self.at(path), mode)

    def stat(self, path: str) -> tuple:
        return self.host.stat(self.at(path))

    def statvfs(self, path: str) -> tuple:
        return self.host.statvfs(self.at(path))

    def ilistdir(self, path: str) -> object:
        return self.host.ilistdir(self.at(path))

    def mkdir(self, path: str) -> None:
        self.host.mkdir(self.at(path))

    def remove(self, path: str) -> None:
        self.host.remove(self.at(path))

    def rmdir(self, path: str) -> None:
        self.host.rmdir(self.at(path))

    def rename(self, old: str, new: str) -> None:
        self.host.rename(self.at(old), self.at(new))

    def chdir(self, path: str) -> None:
        self.stat(path)
        self.cwd = self.at(path)[len(self.root) :]

    def getcwd(self) -> str:
        return self.cwd


def put(data: bytes) -> None:
    sys.stdout.buffer.write(data)


def execute(code: object, scope: dict) -> None:
    """Run code; what it raises is printed as a board prints it, between the two control bytes."""
    sys.stderr.write("\x0e")
    try:
        exec(code, scope)
        failed = None
    except SystemExit:
        failed = None
    except BaseException as error:
        failed = error
    sys.stderr.write("\x0f")
    if scope.get("raw"):
        put(b"\x04")
    if failed:
        sys.print_exception(failed)


def run_file(name: str) -> None:
    try:
        with open(name) as f:
            source = f.read()
    except OSError:
        return
    try:
        code = compile(source, name, "exec")
    except SyntaxError as error:
        sys.print_exception(error)
        return
    execute(code, {"__name__": "__main__"})


def run_raw(source: bytes, scope: dict) -> None:
    put(b"OK")
    try:
        code = compile(str(source, "utf8"), "<stdin>", "exec")
    except SyntaxError as error:
        put(b"\x04")
        sys.print_exception(error)
    else:
        execute(code, scope)
    put(b"\x04>")


def serve(raw: bool) -> int:
    scope = {"__name__": "__main__", "raw": True}
    pending = b""
    put(RAW if raw else BANNER)
    while True:
        byte = sys.stdin.buffer.read(1)
        if not byte:
            return 0
        n = byte[0]
        if n == 1:
            raw, pending = True, b""
            put(RAW)
        elif n == 2:
            raw, pending = False, b""
            put(b"\r\n" + BANNER)
        elif n == 3:
            pending = b""
            put(b"" if raw else b"\r\n>>> ")
        elif n == 4 and not pending:
            put((b"OK\r\n" if raw else b"") + b"MPY: soft reboot\r\n")
            return 10 if raw else 11
        elif n == 4:
            if raw:
                run_raw(pending, scope)
            pending = b""
        elif n == 5 and raw and not pending:
            sys.stdin.buffer.read(2)
            put(b"R\x00")  # raw paste is not spoken: mpremote falls back
        elif raw:
            pending += byte


def main() -> int:
    root, mode = sys.argv[1], sys.argv[2]
    disk = Disk(root)
    if "camera" in sys.argv:
        add_camera(disk.host, root + ".scene")
    del sys.argv[1:]
    vfs.umount("/")
    vfs.mount(disk, "/")
    sys.path[:] = ["", ".frozen", "/lib"]
    add_rom(disk.host, root + ".romfs")
    run_file("/boot.py")
    if mode == "main":
        run_file("/main.py")
    return serve(mode == "raw")


sys.exit(main())
