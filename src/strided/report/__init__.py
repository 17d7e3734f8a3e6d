"""report.html of a run: its result, the reasons for it, and the data."""
