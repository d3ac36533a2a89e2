"""The cost model: what an ingest mode costs a board in time, energy, memory and bytes, with its uncertainty.

Time is counted instructions (hw/measured, data/classes.json) times cycles of their class (data/cores.toml) over the
clock of the profile; radio time is bytes over throughput plus round trips; energy is current x volts x time. Every
number used is listed with its source or called assumed. Bands are outer bounds, not confidence intervals.
"""

from blindsight.simulator.cost.band import Band
from blindsight.simulator.cost.cycles import cycles
from blindsight.simulator.cost.data import CostError, board_names, load_board
from blindsight.simulator.cost.picture import Cost, Stage, Workload, cost
from blindsight.simulator.cost.traffic import shape, traffic

__all__ = [
    "Band", "Cost", "CostError", "Stage", "Workload", "board_names", "cost", "cycles", "load_board", "shape", "traffic"
]  # fmt: skip
