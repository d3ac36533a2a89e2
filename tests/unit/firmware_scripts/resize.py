"""Run by MicroPython: resize frames listed in a JSON file, print the results. argv: app, cases.json."""

import json
import sys

sys.path.insert(0, sys.argv[1])
from bsdev.frame import resize

with open(sys.argv[2]) as f:
    for case in json.load(f):
        crop = tuple(case["crop"]) if case["crop"] else None
        print(
            resize(
                bytes.fromhex(case["frame"]), case["format"], tuple(case["size"]), tuple(case["out"]), crop
            ).hex()
        )
