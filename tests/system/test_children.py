"""Processes of the demonstration end with it, also when it is killed, and not with the thread that asked for them."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from leash import running

from blindsight.app import children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")

ASLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEMO = """
    import queue, sys, threading, time
    from pathlib import Path
    from blindsight.app.children import Child, DeviceProcess
    folder = Path(sys.argv[1])
    def ask():
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = Child("server", command, folder / "server.log")
        device = DeviceProcess(str(folder / "device.sh"), folder, folder, queue.Queue())
        print(child.pid, device._process.pid, flush=True)
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Is there such a process, other than one that nobody has waited for yet?"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def test_a_killed_demo_leaves_nobody_behind(tmp_path: Path) -> None:
    """SIGKILL of the demo ends server and device; the end of the thread that started them has not."""
    assert children.leash(), "util-linux has setpriv: apt-get install util-linux"
    script = tmp_path / "device.sh"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    command = [sys.executable, "-c", textwrap.dedent(DEMO), str(tmp_path)]
    with running(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout
        pids = [int(word) for word in demo.stdout.readline().split()]
        time.sleep(0.5)  # its thread is long gone
        assert len(pids) == 2 and all(alive(pid) for pid in pids)
        demo.kill()
        demo.wait()
        deadline = time.monotonic() + 10
        while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.02)
        left = [pid for pid in pids if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_starting_and_stopping(tmp_path: Path, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the kernel's help and without: one process, its own id, its own signals and log."""
    children.leash.cache_clear()
    monkeypatch.setattr(sys, "platform", platform)
    try:
        assert bool(children.leash()) == (platform == "linux")
        log = tmp_path / "log"
        said = children.Child("speaker", [sys.executable, "-c", "import os; print(os.getpid())"], log)
        said._process.wait(20)
        assert int(log.read_text()) == said.pid
        with pytest.raises(children.ChildError, match="ended with code 0"):
            said.check()
        child = children.Child("sleeper", ASLEEP, log)
        child.stop()
        assert child._process.returncode == -signal.SIGTERM
    finally:
        monkeypatch.undo()
        children.leash.cache_clear()


def test_a_setpriv_that_knows_no_such_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BusyBox's: processes start without it."""
    other = tmp_path / "setpriv"
    other.write_text("#!/bin/sh\necho 'unrecognized option' >&2\nexit 1\n")
    other.chmod(0o755)
    children.leash.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    try:
        assert children.leash() == ()
        child = children.Child("sleeper", ASLEEP, tmp_path / "log")
        child.kill()
    finally:
        monkeypatch.undo()
        children.leash.cache_clear()


def test_many_threads_ask_at_once(tmp_path: Path) -> None:
    """Each gets its own; what cannot be started is that thread's error."""
    found: dict[int, children.Child] = {}
    errors: list[OSError] = []

    def ask(k: int) -> None:
        if k == 7:
            try:
                children.start(ASLEEP, cwd=tmp_path / "nowhere")
            except OSError as error:
                errors.append(error)
        else:
            found[k] = children.Child(f"{k}", ASLEEP, tmp_path / f"{k}.log")

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({child.pid for child in found.values()}) == 7 and len(errors) == 1
    for child in found.values():
        child.check()
        child.kill()
