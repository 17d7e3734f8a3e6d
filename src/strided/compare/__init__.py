"""Networks before any training, and finished runs, side by side."""
