"""A real service that writes down every slot of material it burns: `python service.py cloud|helper CONFIG LOG CLOCK`.

Its clock is ahead of the machine's by the seconds in the file CLOCK, which may change while it runs.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from blindsight.offline import store


def main() -> int:
    role, config, log, clock = sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    real = time.time
    time.time = lambda: real() + float(clock.read_text() or 0)  # type: ignore[method-assign]
    burn = store.Store.reserve

    def reserve(self: store.Store, index: int) -> bytes:
        data = burn(self, index)
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, f"{self._path} {index}\n".encode())
        os.close(fd)
        return data

    store.Store.reserve = reserve  # type: ignore[method-assign]
    if role == "cloud":
        from blindsight.cloud.__main__ import run
    else:
        from blindsight.helper.__main__ import run
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
