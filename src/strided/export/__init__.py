"""From a checkpoint to a bundle: the graph, the proof that it answers as predict does, its cost."""
