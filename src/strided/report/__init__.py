"""report.html of a run: what it came to, why, and on what."""
