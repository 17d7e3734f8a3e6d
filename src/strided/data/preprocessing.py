"""From an image to the network's input: one path for training, evaluation, predict and serving."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from PIL import Image

from strided.data.equalize import Equalize, equalized
from strided.data.reading.decoding import ImageError
from strided.data.reading.depth import WHITE, eight_bit
from strided.errors import UserError
from strided.system.plain_data import is_number

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_MOST_OBLONG = 100  # to 1: scaling before the crop would make a line of pixels fill the memory

_LARGEST = 16_384  # side of an input; one image then takes 3 GB as float32

Resize = Literal["crop", "squash", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Preprocessing:
    """Input geometry (crop, squash or pad to image_size) and normalisation of the 0..1 pixels.

    crop: the shorter side becomes image_size / crop_fraction, then the centre is cut out. squash:
    both sides become that, then the centre is cut out. pad: larger images shrink, all are centred
    on black (LeCun et al. 1998, II.B, put digits of 28 pixels in a field of 32). In 16-bit images
    `white` and above become 255; checkpoints without it have 65535. It, mean and std are None until
    they are known. `equalize` changes the grey levels after that, if it is not None.
    """

    channels: int
    image_size: int
    resize: Resize = "crop"
    crop_fraction: float = 1.0
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    white: int | None = WHITE
    equalize: Equalize | None = None

    def __post_init__(self) -> None:
        check_input_format(self.channels, self.image_size, self.resize, self.crop_fraction)
        check_one_of("interpolation", self.interpolation, get_args(Interpolation))
        check_one_of("equalize", self.equalize, get_args(Equalize))
        check_normalisation(self.mean, self.std, self.channels)
        if self.white is not None and not 0 < self.white <= WHITE:
            raise UserError(
                f"the preprocessing has white={self.white}; expected 1 to {WHITE}. Try a "
                "checkpoint as strided wrote it"
            )

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Bring an "L", "RGB" or "I;16" image to uint8 (channels, image_size, image_size).

        Raises ImageError for an image too oblong to be cropped.
        """
        if image.mode == "I;16":
            image = eight_bit(image, self.white or WHITE)
        if self.channels == 1 and image.mode != "L":
            image = image.convert("L")
        image = self._pad(image) if self.resize == "pad" else self._cropped(image)
        if self.channels == 3 and image.mode != "RGB":
            image = image.convert("RGB")  # grey: the same values three times
        pixels = np.asarray(image).reshape(self.image_size, self.image_size, self.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def normalise(
        self, images: "Tensor", memory_format: "torch.memory_format | None" = None
    ) -> "Tensor":
        """Map 0..255 pixels (B, C, S, S) of any dtype to float32 of zero mean and unit std.

        A GPU writes them in `memory_format`, None: contiguous.
        """
        from strided.data.normalise import normalise  # torch, which a service does without

        assert self.mean is not None and self.std is not None, "mean and std are not known yet"
        return normalise(images, self.mean, self.std, memory_format)

    def asdict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists: what a checkpoint may hold."""
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if self.equalize is None:  # keeps the names of what was cached before there was the field
            del fields["equalize"]
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Rebuild what `asdict` returned. Raises UserError for other fields, or other types."""
        known = set(cls.__dataclass_fields__)
        if not isinstance(fields, dict) or not {"channels", "image_size"} <= set(fields) <= known:
            given = ", ".join(map(str, fields)) if isinstance(fields, dict) else repr(fields)
            raise UserError(
                f"the preprocessing of a checkpoint has {given}; expected only "
                f"{', '.join(sorted(known))}. Try a checkpoint that this version of strided wrote"
            )
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        if wrong := [key for key, value in values.items() if not _is_plain(key, value)]:
            raise UserError(
                f"the preprocessing of a checkpoint has a {wrong[0]} of another kind; expected "
                "numbers and words as strided writes them. Try another copy of the file"
            )
        return cls(**values)

    def _cropped(self, image: Image.Image) -> Image.Image:
        return self._levels(self._centre(self._scale(image)))

    def _levels(self, image: Image.Image) -> Image.Image:
        return image if self.equalize is None else equalized(image, self.equalize)

    def _scale(self, image: Image.Image) -> Image.Image:
        target = round(self.image_size / self.crop_fraction)
        width, height = image.size
        if self.resize == "squash":
            return self._resized(image, target, target)
        shorter, longer = sorted(image.size)
        if longer > _MOST_OBLONG * shorter:
            raise ImageError(
                f"{width} x {height} pixels, too oblong to be cropped; expected at most "
                f"{_MOST_OBLONG} to 1. Try data.resize=pad in training"
            )
        # the longer side is rounded down, as in torchvision
        return self._resized(image, target * width // shorter, target * height // shorter)

    def _centre(self, image: Image.Image) -> Image.Image:
        left = round((image.width - self.image_size) / 2)
        top = round((image.height - self.image_size) / 2)
        return image.crop((left, top, left + self.image_size, top + self.image_size))

    def _pad(self, image: Image.Image) -> Image.Image:
        shrink = min(1.0, self.image_size / max(image.size))
        width, height = (max(1, round(side * shrink)) for side in image.size)
        field = Image.new(image.mode, (self.image_size, self.image_size))
        corner = (self.image_size - width) // 2, (self.image_size - height) // 2
        field.paste(self._levels(self._resized(image, width, height)), corner)
        return field

    def _resized(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), Image.Resampling[self.interpolation.upper()])


def _is_plain(key: str, value: Any) -> bool:
    """Whether a field, of a file, has the type that it should have."""
    if value is None:
        return key in ("mean", "std", "white", "equalize")
    if key in ("mean", "std"):
        return isinstance(value, tuple) and all(map(is_number, value))
    if key in ("channels", "image_size", "white"):
        return type(value) is int
    return is_number(value) if key == "crop_fraction" else isinstance(value, str)


def check_input_format(
    channels: int | None,
    image_size: int | None,
    resize: str | None,
    crop_fraction: float | None,
) -> None:
    """Raise UserError for an impossible geometry; None (not decided yet) passes."""
    check_one_of("channels", channels, (1, 3))
    check_one_of("resize", resize, get_args(Resize))
    if image_size is not None and not 1 <= image_size <= _LARGEST:
        raise UserError(
            f"data.image_size={image_size}; expected the side of the network's input in pixels, 1 "
            f"to {_LARGEST}."
            " Try data.image_size=224, or data.image_size=null for the usual one"
        )
    if crop_fraction is not None and not 0.01 <= crop_fraction <= 1:
        raise UserError(
            f"data.crop_fraction={crop_fraction}; expected the part of the side that is kept,"
            " 0.01 <= crop_fraction <= 1. Try data.crop_fraction=0.875"
        )


def check_normalisation(
    mean: tuple[float, ...] | None, std: tuple[float, ...] | None, channels: int | None
) -> None:
    """Raise UserError unless mean and std are both None or one number (std > 0) a channel."""
    if (mean is None) != (std is None):
        given, missing = ("std", "mean") if mean is None else ("mean", "std")
        raise UserError(
            f"data.{given} without data.{missing}; expected both, or neither to have them chosen."
            f" Try adding data.{missing}=[...]"
        )
    for key, values in (("mean", mean), ("std", std)):
        wrong_count = values is not None and channels is not None and len(values) != channels
        if values is not None and (wrong_count or not values):
            raise UserError(
                f"data.{key}={list(values)} has {len(values)} numbers; expected one for each of the"
                f" {channels or ''} channels. Try data.{key}=null to have it chosen"
            )
    if std is not None and min(std) <= 0:
        raise UserError(
            f"data.std={list(std)}; expected numbers above 0, on the scale where white is 1."
            " Try data.std=null data.mean=null to have them chosen"
        )


def check_at_least(key: str, value: int | None, least: int, most: int | None = None) -> None:
    """Raise UserError unless data.<key> is from `least` to `most`, or None (not decided yet)."""
    if value is not None and most is not None and value > most:
        raise UserError(
            f"data.{key}={value}; expected {least} to {most} on this machine. Try data.{key}=null"
        )
    if value is not None and value < least:
        raise UserError(
            f"data.{key}={value}; expected {least} or more. Try data.{key}={max(least, 1)}"
        )


def check_one_of(key: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise UserError unless data.<key> is one of the choices or None (not decided yet)."""
    if value is not None and value not in choices:
        listed = ", ".join(str(choice) for choice in choices)
        raise UserError(
            f"data.{key}={value}; expected one of {listed}. Try data.{key}={choices[0]}"
        )
