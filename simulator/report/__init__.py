"""Reports of costs and capacity: CSV and one self-contained HTML page (the table and JSON are the command line's)."""

from blindsight.simulator.report.csvfile import costs_csv
from blindsight.simulator.report.page import page

__all__ = ["costs_csv", "page"]
