"""What every test of this folder ends with."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_device_is_left() -> Iterator[None]:
    """Ends the firmware processes of a test that failed before it did."""
    yield
    lab = sys.modules.get("firmware_lab")
    if lab is not None:
        lab.Device.reap()
