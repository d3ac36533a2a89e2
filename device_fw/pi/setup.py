"""Builds the client: the board firmware's own modules (bsdev, bsnative), the C core, and what a Pi has instead of a port."""

import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

CORE = "../rlwe"


class WithBinding(build_py):
    """Adds natmod's bsnative.py, which is no package."""

    def run(self) -> None:
        super().run()
        shutil.copy("../natmod/bsnative.py", Path(self.build_lib) / "bsnative.py")


setup(
    packages=["blindsight_pi", "bsdev"],
    package_dir={"blindsight_pi": "blindsight_pi", "bsdev": "../app/bsdev"},
    cmdclass={"build_py": WithBinding},
    ext_modules=[
        Extension(
            "bsrlwe",
            ["blindsight_pi/_core.c"]
            + [
                f"{CORE}/src/{n}.c"
                for n in ("aes", "ntt", "ntt_neon", "pack", "rlwe", "roots", "sampling", "stream")
            ],
            include_dirs=[f"{CORE}/include", f"{CORE}/src", "../natmod"],
            extra_compile_args=["-O2", "-std=c99"],
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
