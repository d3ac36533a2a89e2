"""A service that departs from its plan's reveal mode: `python odd_service.py cloud|helper CONFIG`, as `fake_service.py`.

The cloud claims at HELLO that the helper has whatever it serves; the helper seals a share of ten numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import fake_service

from blindsight.cloud import worker as cloud
from blindsight.helper import worker as helper
from blindsight.wire.result import Reveal


def seal_ten(key: bytes, context: Any, share: Sequence[int], real: Any = helper.seal) -> bytes:
    return real(key, replace(context, reveal=Reveal.LOGITS), np.zeros(10, np.uint32))


class Everything(dict[str, set[bytes]]):
    """A peer that has every plan."""

    def get(self, name: str, default: Any = None) -> Any:
        return type("All", (set,), {"__contains__": lambda *_: True})()


if __name__ == "__main__":
    if sys.argv[1] == "helper":
        helper.seal = seal_ten
    else:
        cloud.jobs.models_of = lambda peer: Everything()
    fake_service.main()
