"""Training as in a course's script: strided's speed is compared with it."""

import multiprocessing
from collections.abc import Callable, Generator
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from strided.benchmark.bare_network import training_loss
from strided.config.keys import Node
from strided.config.targets import EXTRA_KEYS, build
from strided.data import BatchAugment, ImageDataModule, Preprocessing
from strided.data.equalize import equalized
from strided.data.reading.depth import WHITE, eight_bit
from strided.models import build_model
from strided.system.signals import follow_parent, held_back
from strided.training.losses import build_loss
from strided.training.task import ClassificationTask

WORKERS = 2


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """The training images of a data module, each read, decoded and transformed when asked for."""

    def __init__(self, data: ImageDataModule, transform: Callable[[Image.Image], Tensor]) -> None:
        self.source, self.indices = data.source, data.readable("train")
        self.mode = "L" if data.preprocessing.channels == 1 else "RGB"
        self.white = data.preprocessing.white or WHITE
        self.transform = transform

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        index = self.indices[position]
        image = self.source.read(index)
        if image.mode == "I;16":
            image = eight_bit(image, self.white)
        image = image.convert(self.mode)
        return self.transform(image), int(self.source.labels[index])


def per_image_transform(
    preprocessing: Preprocessing, augment: BatchAugment, native_size: int | None
) -> Callable[[Image.Image], Tensor]:
    """torchvision's transforms that do to one image what strided does to a batch."""
    from torchvision import transforms as t
    from torchvision.transforms.v2 import GaussianNoise

    side = preprocessing.image_size
    steps: list[Any] = []
    if augment.crop_scale < 1:
        steps.append(t.RandomResizedCrop(side, scale=(augment.crop_scale, 1.0)))
    elif native_size != side or preprocessing.crop_fraction != 1:
        steps += _resize(preprocessing)
    if (how := preprocessing.equalize) is not None:
        steps.append(lambda image: equalized(image, how))
    if augment.crop_padding:
        padding = round(augment.crop_padding * side)
        border = "reflect" if augment.border == "reflect" else "constant"
        steps.append(t.RandomCrop(side, padding=padding, padding_mode=border))
    if augment.horizontal_flip:
        steps.append(t.RandomHorizontalFlip())
    if augment.rand_augment_ops:
        steps.append(t.RandAugment(augment.rand_augment_ops, augment.rand_augment_magnitude))
    if augment.rotation or augment.zoom:
        scale = (1 - augment.zoom, 1 + augment.zoom)
        steps.append(t.RandomAffine(augment.rotation, scale=scale))
    if augment.elastic:
        steps.append(t.ElasticTransform(alpha=augment.elastic * side))
    if augment.brightness or augment.contrast:
        steps.append(t.ColorJitter(augment.brightness, augment.contrast))
    steps += [t.ToTensor(), t.Normalize(preprocessing.mean, preprocessing.std)]
    if augment.noise:
        steps.append(GaussianNoise(sigma=augment.noise))
    if augment.erasing:
        steps.append(t.RandomErasing(augment.erasing))
    if augment.cutout:
        area = augment.cutout**2
        steps.append(t.RandomErasing(1.0, scale=(area, area), ratio=(1.0, 1.0)))
    transform: Callable[[Image.Image], Tensor] = t.Compose(steps)
    return transform


def _resize(preprocessing: Preprocessing) -> list[Any]:
    from torchvision import transforms as t

    side = preprocessing.image_size
    target = round(side / preprocessing.crop_fraction)
    how = t.InterpolationMode(preprocessing.interpolation)
    if preprocessing.resize == "squash":
        return [t.Resize((target, target), how), t.CenterCrop(side)]
    if preprocessing.resize == "crop":
        return [t.Resize(target, how), t.CenterCrop(side)]
    resample = Image.Resampling[preprocessing.interpolation.upper()]

    def shrink(image: Image.Image) -> Image.Image:
        image.thumbnail((side, side), resample)
        return image

    return [shrink, t.CenterCrop(side)]  # pads smaller images too


def plain_loader(data: ImageDataModule, augment: BatchAugment) -> DataLoader[Any]:
    """The script's DataLoader over the training images: shuffled, two workers."""
    transform = per_image_transform(data.preprocessing, augment, data.native_size)
    images = TrainingImages(data, transform)
    # other ways to start a worker would need picklable sources
    forks = "fork" in multiprocessing.get_all_start_methods()
    return DataLoader(
        images,
        batch_size=data.batch_size,
        shuffle=True,
        num_workers=WORKERS if forks else 0,
        multiprocessing_context="fork" if forks else None,
        worker_init_fn=follow_parent if forks else None,
        # as in ImageDataModule.train_dataloader: batch normalisation cannot train on one image
        drop_last=data.drop_last or 1 == len(images) % data.batch_size < len(images),
    )


def plain_training(
    task: ClassificationTask,
    data: ImageDataModule,
    augment: BatchAugment,
    optimizer_node: Node,
    device: torch.device,
    every: int = 1,
) -> Generator[int, None, None]:
    """Train another network from the task's weights, in float32, epoch after epoch.

    `optimizer_node` comes from the config, since strided's optimizer has a fused step switched on.
    A step comes after every `every` batches.
    """
    options: Any = task.hparams
    model = build_model(
        options["model"],
        num_classes=len(task.classes),
        in_channels=task.preprocessing.channels,
        image_size=task.preprocessing.image_size,
    )
    model.load_state_dict(task.model.state_dict())
    model.to(device).train()
    criterion = build_loss(options["loss"], task.classes).to(device)
    own = EXTRA_KEYS["optimizer"]
    node = {key: value for key, value in optimizer_node.items() if key not in own}
    optimizer = build(node, "optimizer", params=model.parameters())
    mix = _mixing(augment, len(task.classes))
    loader, total = plain_loader(data, augment), 0.0
    while True:
        with held_back():
            batches = iter(loader)
        for number, (images, labels) in enumerate(batches, 1):
            images, labels = mix(images.to(device), labels.to(device))
            loss = training_loss(model, criterion, images, labels) / every
            loss.backward()
            if number % every == 0 or number == len(loader):
                optimizer.step()
                optimizer.zero_grad()
            total += loss.item()
            yield len(labels)


def _mixing(augment: BatchAugment, num_classes: int) -> Callable[..., Any]:
    """torchvision's mixup, CutMix, one of the two for each batch, or nothing."""
    from torchvision.transforms import v2

    choices: list[Any] = []
    if augment.mixup:
        choices.append(v2.MixUp(alpha=augment.mixup, num_classes=num_classes))
    if augment.cutmix:
        choices.append(v2.CutMix(alpha=augment.cutmix, num_classes=num_classes))
    return v2.RandomChoice(choices) if choices else lambda images, labels: (images, labels)
