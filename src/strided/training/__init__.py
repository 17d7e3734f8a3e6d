"""Training: the task, its losses and schedules, the callbacks, and the stages of transfer learning.

These are the classes and functions that a config names.
"""

from strided.training.callbacks.checkpoint import Checkpoint
from strided.training.callbacks.ema import EMA
from strided.training.callbacks.gradient_norms import GradientNorms
from strided.training.callbacks.lr_finder import LearningRateFinder
from strided.training.losses import CrossEntropy, FocalLoss
from strided.training.schedules import OneCycle, Plateau, cosine
from strided.training.transfer.transfer import Stage, Transfer

__all__ = [
    "EMA",
    "Checkpoint",
    "CrossEntropy",
    "FocalLoss",
    "GradientNorms",
    "LearningRateFinder",
    "OneCycle",
    "Plateau",
    "Stage",
    "Transfer",
    "cosine",
]
