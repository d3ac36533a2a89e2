"""The same tests on emulated and on real boards: a pytest plugin with one fixture, `dut`, and many bodies for it.

`pytest -p blindsight.hw.hil --body unix,qemu-m4 ...`; `blindsight hw hil` runs the suite beside this file.
"""

from blindsight.hw.hil.plugin import (
    dut,
    needs,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_generate_tests,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    quarantine,
)

__all__ = [
    "dut", "needs", "pytest_addoption", "pytest_collection_modifyitems", "pytest_configure", "pytest_generate_tests",
    "pytest_runtest_makereport", "pytest_sessionfinish", "quarantine",
]  # fmt: skip
