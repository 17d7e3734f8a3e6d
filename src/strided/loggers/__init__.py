"""Where a run is shown besides its folder: W&B, TensorBoard, MLflow."""

from strided.loggers.mlflow_logger import MLflowLogger
from strided.loggers.run_logger import FinishedSweep, RunLogger, StartedRun
from strided.loggers.tensorboard_logger import TensorBoardLogger
from strided.loggers.wandb_logger import WandbLogger

# What a config may name, by the kind of its place.
TARGETS = {"logger": ("MLflowLogger", "TensorBoardLogger", "WandbLogger")}

__all__ = [
    "FinishedSweep",
    "MLflowLogger",
    "RunLogger",
    "StartedRun",
    "TensorBoardLogger",
    "WandbLogger",
]
