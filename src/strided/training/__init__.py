"""Training: the task, its losses and schedules, the callbacks, and the stages of transfer learning.

Configs name these classes and functions.
"""

from typing import Any

from strided.training.callbacks.checkpoint import Checkpoint
from strided.training.callbacks.ema import EMA
from strided.training.callbacks.gradient_norms import GradientNorms
from strided.training.callbacks.image_size import ImageSize
from strided.training.callbacks.lookahead import Lookahead
from strided.training.callbacks.lr_finder import LearningRateFinder
from strided.training.callbacks.target import Target
from strided.training.logistic import LBFGS
from strided.training.losses import CrossEntropy, FocalLoss
from strided.training.schedules import OneCycle, Plateau, cosine
from strided.training.transfer.transfer import Stage, Transfer

# What a config may name, by the kind of its place.
TARGETS = {
    "loss": ("CrossEntropy", "FocalLoss"),
    "optimizer": ("LBFGS", "Muon"),
    "scheduler": ("OneCycle", "Plateau", "cosine"),
    "callback": (
        *("Checkpoint", "EMA", "GradientNorms", "ImageSize", "LearningRateFinder", "Lookahead"),
        "Target",
    ),
    "transfer": ("Transfer",),
    "stage": ("Stage",),
}

__all__ = [
    "EMA",
    "LBFGS",
    "Checkpoint",
    "CrossEntropy",
    "FocalLoss",
    "GradientNorms",
    "ImageSize",
    "LearningRateFinder",
    "Lookahead",
    "OneCycle",
    "Plateau",
    "Stage",
    "Target",
    "Transfer",
    "cosine",
]


def __getattr__(name: str) -> Any:
    """Import timm for Muon only where it is used: it takes a second."""
    if name == "Muon":
        from strided.training.muon import Muon

        return Muon
    raise AttributeError(f"module {__name__} has no attribute {name}")
