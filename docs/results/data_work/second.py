"""Seconds of data work of a later start of CIFAR-10; its argument is data.root."""

import sys
import time

import torch  # noqa: F401  # not the data's work

from strided.config.compose import compose
from strided.config.targets import build
from strided.data import Preprocessing

config = compose("train", ["data=cifar10", f"data.root={sys.argv[1]}"])
started = time.perf_counter()
data = build(config["data"], "data")
listed = len(data.source)
between = time.perf_counter()
data.use(Preprocessing(3, 32, mean=data.published_mean, std=data.published_std))
data.setup()
total = time.perf_counter() - started
print(f"{listed} images: {total:.3f} s, of it listing {between - started:.3f} s")
