"""How fast augmentation is: strided's, kornia's on the batch, torchvision's image by image.

A uint8 batch to augmented, normalised float32 on the CPU. Rounds of all three libraries take turns;
the table has the median of the processor time of a round, as thousands of images a second. With
one thread that is the thread's own time, which other processes do not change; with more, the clock.

    pip install kornia
    python docs/results/augment/measure.py 1
"""

import statistics
import sys
import time
from collections.abc import Callable

import kornia.augmentation as K
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from strided.data import BatchAugment, Preprocessing

SHAPES = [(64, 1, 28, 28), (128, 3, 32, 32), (32, 3, 224, 224)]
ROUNDS = 15
MEAN, STD = 0.45, 0.22
BILINEAR = v2.InterpolationMode.BILINEAR


def cases(side: int) -> dict[str, tuple[BatchAugment, list[nn.Module], list[nn.Module]]]:
    """The same change by strided, kornia and torchvision."""
    square, padding, box = (side, side), round(side / 8), (0.35, 1.0)
    flip = K.RandomHorizontalFlip(), v2.RandomHorizontalFlip()
    crop = K.RandomCrop(square, padding=padding), v2.RandomCrop(side, padding=padding)
    turn = (
        K.RandomAffine(10.0, scale=(0.9, 1.1), p=1.0),
        v2.RandomAffine(10, scale=(0.9, 1.1), interpolation=BILINEAR),
    )
    light = K.ColorJiggle(0.2, 0.2), v2.ColorJitter(0.2, 0.2)
    erasing = K.RandomErasing(p=0.25), v2.RandomErasing(0.25)
    each = {
        "mirror": ({"horizontal_flip": True}, [flip]),
        "padded crop": ({"crop_padding": 0.125}, [crop]),
        "resized crop": (
            {"crop_scale": 0.35},
            [(K.RandomResizedCrop(square, box), v2.RandomResizedCrop(side, box))],
        ),
        "rotation": (
            {"rotation": 10},
            [(K.RandomRotation(10.0, p=1.0), v2.RandomRotation(10, BILINEAR))],
        ),
        "zoom": (
            {"zoom": 0.1},
            [
                (
                    K.RandomAffine(0.0, scale=(0.9, 1.1), p=1.0),
                    v2.RandomAffine(0, scale=(0.9, 1.1), interpolation=BILINEAR),
                )
            ],
        ),
        "brightness, contrast": ({"brightness": 0.2, "contrast": 0.2}, [light]),
        "erasing": ({"erasing": 0.25}, [erasing]),
        "standard": ({"horizontal_flip": True, "crop_padding": 0.125}, [flip, crop]),
        "strong": (
            {
                "horizontal_flip": True,
                "crop_padding": 0.125,
                "rotation": 10,
                "zoom": 0.1,
                "brightness": 0.2,
                "contrast": 0.2,
                "erasing": 0.25,
            },
            [flip, crop, turn, light, erasing],
        ),
    }
    return {
        name: (
            BatchAugment(**options),  # type: ignore[arg-type]
            [kornia for kornia, _ in pairs],
            [torchvision for _, torchvision in pairs],
        )
        for name, (options, pairs) in {"normalisation alone": ({}, []), **each}.items()
    }


def contenders(
    case: tuple[BatchAugment, list[nn.Module], list[nn.Module]], images: Tensor
) -> list[Callable[[], Tensor]]:
    """Each library's way from `images` to the network's input."""
    augment, kornia, torchvision = case
    channels, side = images.shape[1:3]
    mean, std = (MEAN,) * channels, (STD,) * channels
    preprocessing = Preprocessing(channels, side, mean=mean, std=std)
    on_batch = K.AugmentationSequential(*kornia, K.Normalize(torch.tensor(mean), torch.tensor(std)))
    on_image = v2.Compose([nn.Identity(), *torchvision])
    finish = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    generator = torch.Generator().manual_seed(0)
    return [
        lambda: preprocessing.normalise(augment(images, generator)),
        lambda: on_batch(images.float() / 255),
        lambda: finish(
            torch.stack([on_image(image) for image in images]) if torchvision else images
        ),
    ]


def seconds(runs: list[Callable[[], Tensor]], clock: Callable[[], float]) -> list[float]:
    """The median time of each, all taking turns."""
    times: list[list[float]] = [[] for _ in runs]
    for number in range(ROUNDS + 2):
        for run, taken in zip(runs, times, strict=True):
            start = clock()
            run()
            if number >= 2:  # the first ones allocate
                taken.append(clock() - start)
    return [statistics.median(taken) for taken in times]


def main(num_threads: int) -> None:
    """Print a table for each shape."""
    torch.set_num_threads(num_threads)
    clock = time.thread_time if num_threads == 1 else time.perf_counter
    for shape in SHAPES:
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        print(f"\n{' x '.join(map(str, shape))}, {num_threads} threads, thousand images/s\n")
        print("| | strided | kornia | torchvision |\n|---|---|---|---|")
        for name, case in cases(shape[-1]).items():
            rates = [shape[0] / 1000 / s for s in seconds(contenders(case, images), clock)]
            print(f"| {name} | {' | '.join(f'{rate:.3g}' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
