"""Every parser of untrusted or damaged bytes as a fuzz target: `TARGETS[name]` is `(run, seeds)`.

`run(data)` parses; the errors the parser documents are expected and checked to be one short line; anything else that it
raises is a finding. Round trips are checked where a parser has an encoder. `seeds()` are valid inputs, made by the
product's own encoders, so that the fuzzer starts behind the first checks.
"""

from . import boards, files, firmware, ingress, lattice, models, wire
from .register import TARGETS

__all__ = ["TARGETS", "boards", "files", "firmware", "ingress", "lattice", "models", "wire"]
