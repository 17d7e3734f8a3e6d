"""The bound: decode, resize and run one picture after the other, on one core and without HTTP.

    python -m tests.load.bound <bundle> <folder of pictures> <seconds>

Prints JSON: images, and their seconds of CPU, in all and of each step.
"""

import json
import os
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np

from strided.data.reading.decoding import decode
from strided.serving import Bundle

STEPS = ("decode", "resize", "run")


def measure(bundle: Bundle, pictures: list[bytes], seconds: float) -> dict[str, float]:
    """Take the steps for `seconds`; the first pass of all pictures does not count."""
    spent = dict.fromkeys(STEPS, 0.0)
    count, end = -len(pictures), float("inf")
    while time.perf_counter() < end:
        marks = [time.process_time()]
        image = decode(BytesIO(pictures[count % len(pictures)]))
        marks.append(time.process_time())
        pixels = bundle.preprocessing.pixels(image)
        marks.append(time.process_time())
        bundle.outputs(pixels[None])
        marks.append(time.process_time())
        count += 1
        if count == 0:
            end = time.perf_counter() + seconds
        if count > 0:
            for step, taken in zip(STEPS, np.diff(marks).tolist(), strict=True):
                spent[step] += taken
    return {"images": count, "cpu_s": sum(spent.values()), **spent}


def main() -> None:
    """Measure on the last core that this process may use."""
    bundle, folder, seconds = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = [file.read_bytes() for file in sorted(Path(folder).iterdir())]
    print(json.dumps(measure(Bundle.load(bundle, threads=1), found, float(seconds))))


if __name__ == "__main__":
    main()
