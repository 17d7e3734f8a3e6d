"""A search for values with Optuna: trials in a folder, by several processes."""

# What a config may name, by the kind of its place.
TARGETS = {"search": ("space.Search",), "callback": ("pruning.Pruning",)}
