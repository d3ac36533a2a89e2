"""Many devices on one event loop against the real broker and servers: encryption by the C core, MQTT by hand.

Their timing, faults and energy are a model (seeded, the same to the last digit); their ciphertexts are real: each picture
has fresh randomness from the operating system, so the servers cannot tell them from boards, and every answer is opened
and compared.
"""

from blindsight.simulator.fleet.clients import Network, Outcome, drive
from blindsight.simulator.fleet.gate import Gate
from blindsight.simulator.fleet.groups import Fleet, Group, Outage, Restart
from blindsight.simulator.fleet.summary import rows_csv, summary
from blindsight.simulator.fleet.timetable import Day, Plan, Spec, draw, group_cost
from blindsight.simulator.fleet.watch import Watch

__all__ = [
    "Day", "Fleet", "Gate", "Group", "Network", "Outage", "Outcome", "Plan", "Restart", "Spec", "Watch",
    "draw", "drive", "group_cost", "rows_csv", "summary",
]  # fmt: skip
