"""What a service answers, as OpenAPI shows it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Format = Literal["JPEG", "PNG", "DICOM"]
Route = Literal["auto", "review", "urgent", "refused"]


class Schema(BaseModel):
    """A part of an answer; fields are given by their names here, and sent by their aliases."""

    model_config = ConfigDict(serialize_by_alias=True, extra="forbid")


class Model(Schema):
    """The network that answered; sha256 is that of its file."""

    name: str
    version: int
    sha256: str


class Uncertainty(Schema):
    """entropy: of the probabilities, in nats. margin: from the first class to the second.

    ood: how far from the training images, above 1 is refused; null without a gate.
    """

    entropy: float | None
    margin: float | None
    ood: float | None


class Reason(Schema):
    """Why a case takes its route."""

    code: str
    text: str


class Heatmap(Schema):
    """Where the logit of a class comes from. png: base64, of the size of the network's input."""

    class_: str = Field(serialization_alias="class")
    method: str
    png: str
    scale: float
    unit: str


class Input(Schema):
    """The picture: upright, its first frame. frames are those in the file."""

    format: Format
    width: int
    height: int
    frames: int


class Fault(Schema):
    """Why one file of several has no prediction."""

    code: str
    detail: str


class Result(Schema):
    """The prediction for one file, or its error. What the bundle has no part for is null.

    picture: what the network saw, as a PNG in base64, if it was asked for.
    A refused picture has no class, no confidence and no probabilities.
    """

    id: str
    index: int
    class_: str | None = Field(default=None, serialization_alias="class")
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    prediction_set: list[str] | None = None
    uncertainty: Uncertainty | None = None
    route: Route | None = None
    reasons: list[Reason] = []
    heatmap: Heatmap | None = None
    picture: str | None = None
    input: Input | None = None
    error: Fault | None = None


class Timing(Schema):
    """Milliseconds: of the slowest file in each stage, and of the request in all."""

    decode: float
    queue: float
    run: float
    total: float


class Predictions(Schema):
    """The answer to a request, by one version of one model."""

    request_id: str
    model: Model
    notice: str
    results: list[Result]
    timing_ms: Timing


class ReviewFacts(Schema):
    """How cases are decided here. exported: labelled pictures are kept, to train on."""

    comments: bool
    keep_hours: float
    exported: bool


class ModelFacts(Schema):
    """The bundle that answers, and what else the registry has."""

    active: Model
    available: list[int]
    manifest: dict[str, object]
    review: ReviewFacts


class Activated(Schema):
    """The version that answers now."""

    model: Model


class Health(Schema):
    """How the service is."""

    status: Literal["live", "ready"]


class ProblemDetails(Schema):
    """An error (RFC 9457). `code` is one of a closed list."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
