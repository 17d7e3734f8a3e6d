"""How a picture looks: a few plain measures, which need no network and no class."""

import numpy as np

PLACES = 4  # of the coarse picture, along each side
SCALES = 3  # at which detail is measured
BLACK, WHITE = 8, 247  # grey levels below and above which nothing can be seen
LEAST_SPREAD = 0.02  # of each measure: own images may all be alike in one, say without any colour
_TONES = 16  # bins of grey levels
_AT_ONCE = 64  # pictures, so that few copies of them are in memory

# What is said of a measure that stands out, and how many measures in a row it is said of.
_GROUPS = (
    ("unusual_exposure", 5),
    ("unusual_contrast", 1),
    ("unusual_sharpness", SCALES),
    ("unusual_layout", PLACES**2),
    ("unusual_colour", 4),
)


def groups(measures: int) -> list[str]:
    """Return for each of so many measures the reason that it stands for."""
    return [name for name, count in _GROUPS for _ in range(count)][:measures]


def num_looks(channels: int) -> int:
    """Return how many measures there are of pictures with so many channels."""
    return looks(np.zeros((1, channels, 1, 1), dtype=np.uint8)).shape[1]


def looks(pixels: np.ndarray) -> np.ndarray:
    """Return M measures (N, M) of uint8 pixels (N, C, S, S): 25 for C = 1, and 29 for C = 3.

    Exposure: mean and skewness (-3 to 3) of the grey levels, the parts that are black and white,
    and the entropy of the grey levels, in nats. Contrast: the logarithm of their deviation.
    Sharpness: the logarithm of the mean step to the next pixel, less the contrast, at full size and
    after averaging 2 x 2 pixels once and twice; blur lowers it, noise raises it. Layout: the
    brightness at 4 x 4 places. Colour: saturation, colourfulness (Hasler & Suesstrunk 2003), and
    the means of red against green and of yellow against blue. Levels are from 0 to 1.
    """
    parts = np.split(pixels, range(_AT_ONCE, len(pixels), _AT_ONCE))
    return np.concatenate([_looks(part) for part in parts]).astype(np.float64)


def _looks(pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float32)
    grey = values[:, 0] if len(values[0]) == 1 else values.mean(1)
    exposure, contrast = _levels(grey.astype(np.uint8))
    grey /= 255
    detail = np.stack(_details(grey), axis=1) - contrast
    columns = [exposure, contrast, detail, _coarse(grey)]
    if pixels.shape[1] == 3:
        columns.append(_colours(values / 255))
    return np.concatenate(columns, axis=1)


def _levels(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return measures of exposure (N, 5) and of contrast (N, 1), by counting grey levels."""
    counts = np.stack([np.bincount(one.ravel(), minlength=256) for one in grey])
    shares = counts / counts.sum(1, keepdims=True)
    levels = np.arange(256) / 255
    mean = shares @ levels
    away = levels - mean[:, None]
    deviation = np.sqrt((shares * away**2).sum(1))
    skewness = ((shares * away**3).sum(1) / (deviation + 1e-3) ** 3).clip(-3, 3)
    tones = shares.reshape(len(grey), _TONES, -1).sum(2)
    logs = np.log(tones, out=np.zeros_like(tones), where=tones > 0)
    black, white = shares[:, :BLACK].sum(1), shares[:, WHITE + 1 :].sum(1)
    exposure = np.stack([mean, skewness, black, white, -(tones * logs).sum(1)], axis=1)
    return exposure, np.log(deviation + 1e-2)[:, None]


def _details(grey: np.ndarray) -> list[np.ndarray]:
    found = []
    for _ in range(SCALES):
        steps = np.zeros(len(grey))
        if (side := grey.shape[1]) > 1:
            steps = sum(np.abs(np.diff(grey, axis=a)).mean((1, 2)) for a in (1, 2)) / 2
        found.append(np.log(steps + 1e-3))
        grey = _averaged(grey, max(1, side // 2))
    return found


def _averaged(grey: np.ndarray, side: int) -> np.ndarray:
    """Average (N, S, S) over blocks, to (N, side, side); what is left over at the ends is cut."""
    block = grey.shape[1] // side
    cut = grey[:, : block * side, : block * side]
    return cut.reshape(len(grey), side, block, side, block).mean((2, 4))


def _coarse(grey: np.ndarray) -> np.ndarray:
    """Return the brightness (N, 16) at each place; a smaller picture is enlarged."""
    if (side := grey.shape[1]) < PLACES:
        times = -(-PLACES // side)
        grey = grey.repeat(times, axis=1).repeat(times, axis=2)
    return _averaged(grey, PLACES).reshape(len(grey), -1)


def _colours(values: np.ndarray) -> np.ndarray:
    red, green, blue = values.transpose(1, 0, 2, 3)
    saturation = (values.max(1) - values.min(1)).mean((1, 2))
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    means, deviations = opponents.mean((2, 3)), opponents.std((2, 3))
    colourful = np.sqrt((deviations**2).sum(0)) + 0.3 * np.sqrt((means**2).sum(0))
    return np.stack([saturation, colourful, *means], axis=1)
