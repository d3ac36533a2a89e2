"""A service process with the insecure engine of the tests: `python fake_service.py cloud|helper CONFIG`.

`BS_KILL=module:Class.method:before|after:N` makes it kill itself with SIGKILL at the N-th such call.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit

from blindsight.cloud.config import CloudConfig
from blindsight.cloud.service import CloudService
from blindsight.helper.config import HelperConfig
from blindsight.helper.service import HelperService
from blindsight.service import logs, stop
from blindsight.service.config import load


def arm(spec: str) -> None:
    """Plants the kill."""
    module, method, when, count = spec.split(":")
    owner_name, name = method.split(".")
    owner = getattr(importlib.import_module(module), owner_name)
    original, calls = getattr(owner, name), [0]

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        now = calls[0] == int(count)
        if now and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        out = original(*args, **kwargs)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return out

    setattr(owner, name, wrapped)


def main() -> None:
    role, path = sys.argv[1], Path(sys.argv[2])
    stopping = stop.on_signals()
    if os.environ.get("BS_KILL"):
        arm(os.environ["BS_KILL"])
    delay = float(os.environ.get("BS_DELAY", "0"))
    logs.setup("debug")
    if role == "cloud":
        config = load(CloudConfig, path)
        service: Any = CloudService(
            config,
            lambda channel, pair: kit.FakeEngine(channel, config.data / "material" / pair, delay),
            lambda version: kit.fake_program(version.load().plan, version.id),
        )
    else:
        helper = load(HelperConfig, path)
        service = HelperService(
            helper,
            lambda channel, pair: kit.FakeEngine(channel, helper.data / "material" / pair, delay),
            kit.fake_program,
        )
    service.start()
    stopping.wait()
    service.stop()
    stop.leave(0)


if __name__ == "__main__":
    main()
