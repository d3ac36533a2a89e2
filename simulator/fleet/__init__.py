"""Many devices on one event loop against the real broker and servers: encryption by the C core, MQTT by hand.

Their timing is a model (seeded); their ciphertexts are real: each picture has fresh randomness from the operating
system, so the servers cannot tell them from boards, and every answer is opened and compared.
"""

from blindsight.simulator.fleet.clients import Faults, Outcome, Plan, drive, schedule
from blindsight.simulator.fleet.parcel import Identity

__all__ = ["Faults", "Identity", "Outcome", "Plan", "drive", "schedule"]
