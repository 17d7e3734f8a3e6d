"""Networks: images (B, C, H, W) in, logits (B, K) out. The YAML's `_target_` is the registry."""

from strided.models.architectures.airbench import Airbench
from strided.models.architectures.lenet import LeNet5
from strided.models.architectures.lenet_original import LeNet5Original
from strided.models.architectures.mlp import MLP
from strided.models.architectures.resnet_cifar import CifarResNet
from strided.models.building import build_model
from strided.models.pairing import Plan, plan
from strided.models.timm_models import timm_model
from strided.models.torchvision_models import torchvision_model
from strided.models.weights import WeightsReport, initialise, load_weights

# What a config may name, by the kind of its place.
TARGETS = {
    "model": (
        "Airbench",
        "MLP",
        "CifarResNet",
        "LeNet5",
        "LeNet5Original",
        "timm_model",
        "torchvision_model",
    ),
}

__all__ = [
    "MLP",
    "Airbench",
    "CifarResNet",
    "LeNet5",
    "LeNet5Original",
    "Plan",
    "WeightsReport",
    "build_model",
    "initialise",
    "load_weights",
    "plan",
    "timm_model",
    "torchvision_model",
]
