"""Run by MicroPython: open sealed shares, one a line of hex (key, sealed, aad) on a file. argv: app, cases."""

import sys

sys.path.insert(0, sys.argv[1])
from bsdev.aead import open_sealed

with open(sys.argv[2]) as f:
    for line in f:
        key, sealed, aad = (bytes.fromhex(x[1:]) for x in line.split())
        plain = open_sealed(key, sealed, aad)
        print("x" + plain.hex() if plain is not None else "refused")
