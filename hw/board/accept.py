# mypy: ignore-errors
"""Run on the board: have its own verifier (bsupdate) accept what lies in ARGS["slot"]."""

import json

import bsupdate

try:
    bsupdate.apply(ARGS["slot"])  # noqa: F821
    refused = ""
except ValueError as error:
    refused = str(error)
print("@" + json.dumps({"refused": refused}))
