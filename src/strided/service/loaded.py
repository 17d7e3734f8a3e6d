"""A version of a bundle in memory, with the threads that run it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

import numpy as np
from PIL import Image

from strided.data.reading.decoding import ImageError
from strided.errors import UserError
from strided.review.framing import frame_of, png_of
from strided.service.batches import Batches, quickest_batch
from strided.service.case import Answered, Case
from strided.service.faults import log_fault
from strided.service.heatmap import Heatmaps
from strided.service.problems import ProblemError
from strided.service.results import QUEUED, route_of
from strided.service.schema import Model
from strided.service.settings import Settings
from strided.serving.bundle import Bundle
from strided.serving.files import MODEL

Deliver = Callable[["Loaded", Sequence[Case], Sequence[Answered | ProblemError]], None]


class Loaded:
    """A bundle whose network runs in as many threads as there are sessions, each on one core.

    The threads share ONNX Runtime's session, which takes its memory once; OpenVINO's runs one
    thing at a time, so each thread has its own. A version that another has replaced ends them when
    its last picture is through.
    """

    def __init__(self, folder: Path, settings: Settings, deliver: Deliver) -> None:
        """Load a version's folder, verify and warm it. Raises UserError."""
        several = settings.sessions if settings.runtime == "openvino" else 1
        bundles = [Bundle.load(folder, 1, settings.runtime) for _ in range(several)]
        self.bundle = bundle = bundles[0]
        _require_text(bundle)
        self.facts = _facts(bundle, folder)
        self.heatmaps = Heatmaps(bundle)
        self.frame = _frame(bundle)  # of pictures that people label
        second = (bundle.manifest.openvino or {}) if settings.runtime == "openvino" else {}
        most = settings.batch or quickest_batch(second.get("latency", bundle.manifest.latency))
        self.most = min(most, settings.queue_images)
        self.batches = Batches(self.most, settings.window)
        self._deliver = deliver
        self._inside = 0  # pictures
        self._retired = False
        for one in bundles:
            self._warm(one)
        for number in range(settings.sessions):
            name = f"run-{self.facts.version}-{number}"
            given = (bundles[number % several],)
            Thread(target=self._run_all, args=given, name=name, daemon=True).start()

    def pixels(self, image: Image.Image) -> np.ndarray:
        """A decoded picture as the network takes it. Raises ProblemError."""
        try:
            return self.bundle.preprocessing.pixels(image)
        except ImageError as error:
            raise ProblemError("unreadable", f"Refused: {error}.") from error

    def enter(self, count: int) -> None:
        """Know of pictures that this version answers; for the loop's thread, as `leave`."""
        self._inside += count
        self.batches.expect(count)

    def leave(self, count: int) -> None:
        """Note that pictures are through."""
        self._inside -= count
        self._end_if_idle()

    def retire(self) -> None:
        """End the threads once the pictures that are inside are through."""
        self._retired = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._retired and not self._inside:
            self.batches.close()

    def _warm(self, bundle: Bundle) -> None:
        """Run the smallest batch and the largest, which takes the memory. Raises UserError."""
        shape = (bundle.preprocessing.channels, *[bundle.preprocessing.image_size] * 2)
        noise = np.random.default_rng(0).integers(0, 256, (self.most, *shape), np.uint8)
        for size in {1, self.most}:
            for heat in {False, "heat" in bundle.manifest.outputs}:
                bundle.require_finite(bundle.outputs(noise[:size], heat=heat))

    def _run_all(self, bundle: Bundle) -> None:
        while taken := self.batches.take():
            if cases := self._wanted(taken):
                self._run(cases, bundle)
            del taken, cases  # the last ones would be kept while nothing comes

    def _wanted(self, taken: Sequence[Case]) -> list[Case]:
        """Those that somebody waits for; the others are through."""
        began = time.monotonic()
        wanted = []
        for case in taken:
            case.queue += began - case.ready
            try:
                case.require_wanted()
                wanted.append(case)
            except ProblemError as problem:
                self._deliver(self, [case], [problem])
        return wanted

    def _run(self, cases: Sequence[Case], bundle: Bundle) -> None:
        """Run pictures together, and deliver what came out."""
        try:
            outcomes = self._answered(cases, bundle)
        except Exception as error:
            if len(cases) > 1:  # alone, each has its own fault
                for case in cases:
                    self._run([case], bundle)
                return
            log_fault("a picture could not be answered by a fault of the service", error)
            outcomes = [ProblemError("internal")]
        self._deliver(self, cases, outcomes)

    def _answered(self, cases: Sequence[Case], bundle: Bundle) -> list[Answered | ProblemError]:
        """What the network says of pictures."""
        began = time.monotonic()
        pixels = np.stack([case.pixels for case in cases if case.pixels is not None])
        outputs = bundle.outputs(pixels, heat=any(case.heat for case in cases))
        finite = outputs.finite()
        good = iter(bundle.answers(outputs.at(finite), pixels[finite]) if finite.any() else ())
        found: list[Answered | ProblemError] = []
        for case, image, is_finite in zip(cases, pixels, finite.tolist(), strict=True):
            case.batch = len(cases)
            if is_finite:
                answer = next(good)
                heatmap = self.heatmaps.of(answer, case.target) if case.heat else None
                is_queued = route_of(answer, case) in QUEUED
                picture = (case.picture or png_of(image)) if is_queued else None
                found.append(Answered(answer, heatmap, picture))
            else:
                found.append(ProblemError("not_finite"))
            case.run = time.monotonic() - began
        return found


def _require_text(bundle: Bundle) -> None:
    """Raise UserError for a class that no answer can name, such as a folder's that is no UTF-8."""
    for name in bundle.classes:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{bundle!r} has the class {name!a}, whose name is not UTF-8; expected "
                "one that JSON can hold. Try another name for its folder, then train and export"
            ) from error


def _frame(bundle: Bundle) -> int:
    own = bundle.preprocessing
    return frame_of(own.image_size, 1 if own.resize == "pad" else own.crop_fraction)


def _facts(bundle: Bundle, folder: Path) -> Model:
    """What answers name it by: in a registry the names of its folders, which may be copies."""
    name, version = bundle.manifest.name, bundle.manifest.version
    if folder.name.isdecimal():
        name, version = folder.parent.name, int(folder.name)
    return Model(name=name, version=version, sha256=bundle.manifest.files[MODEL]["sha256"])
