"""report.html of a run: what it came to, why, and on what."""

from strided.evaluation.examples import Example
from strided.evaluation.metrics import class_table
from strided.report.document import Seen, write_report
from strided.report.viewing import view

__all__ = ["Example", "Seen", "class_table", "view", "write_report"]
