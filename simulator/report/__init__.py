"""Reports of costs, fleets and capacity: CSV and self-contained HTML pages (tables and JSON are the command line's)."""

from blindsight.simulator.report.csvfile import costs_csv, table_csv
from blindsight.simulator.report.fleetpage import OWN, fleet_page
from blindsight.simulator.report.kneepage import knee_page
from blindsight.simulator.report.page import page
from blindsight.simulator.report.parts import plain

__all__ = ["OWN", "costs_csv", "fleet_page", "knee_page", "page", "plain", "table_csv"]
