"""From logits and features to answers, in NumPy alone: a service runs the same code as a run."""
