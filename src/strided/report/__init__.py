"""report.html of a run: what it came to, why, and on what."""

from strided.report.document import Seen, class_table, write_report
from strided.report.gallery import Example
from strided.report.viewing import view

__all__ = ["Example", "Seen", "class_table", "view", "write_report"]
