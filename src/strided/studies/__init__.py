"""What experiments of several runs show beside accuracy: a module for each question.

Each has `section(folder, jobs)`: figures into the folder of the sweep, and words and tables as
HTML.
"""

NAMES = (
    "mlp_vs_cnn",
    "plain_vs_residual",
)  # modules, imported when they are needed: they need torch
