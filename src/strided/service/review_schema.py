"""What is answered of earlier predictions, and of what people decided."""

from typing import Literal

from pydantic import Field

from strided.service.schema import Model, Reason, Route, Schema, Uncertainty


class Review(Schema):
    """What a person says of a case. class: the person's; the network's is in the prediction.

    expired: nobody decided in time. etag: to be sent with a decision.
    """

    state: Literal["open", "decided", "expired"]
    etag: str
    decision: Literal["confirm", "override"] | None
    class_: str | None = Field(serialization_alias="class")
    by: str | None
    time: str | None
    comment: str | None


class Prediction(Schema):
    """An earlier prediction. mine: the caller asked for it. review: null if it was never queued."""

    id: str
    time: str
    actor: str
    mine: bool
    model: Model
    class_: str | None = Field(serialization_alias="class")
    confidence: float | None
    probabilities: dict[str, float] | None
    prediction_set: list[str] | None
    uncertainty: Uncertainty | None
    route: Route
    reasons: list[Reason]
    has_picture: bool
    review: Review | None


class History(Schema):
    """Predictions, the newest first. next: the `before` of the rest, null at the end."""

    predictions: list[Prediction]
    next: str | None


class Accuracy(Schema):
    """Of reviewed cases, those in which the network was right. interval: Wilson's of 95 %."""

    reviewed: int
    right: int
    accuracy: float | None
    interval: list[float] | None


class Feedback(Accuracy):
    """What people say of the version that answers now, in all and by route.

    notice: what the accuracy is not. floor, alarm: whether it is below what is expected.
    """

    by_route: dict[str, Accuracy]
    notice: str
    floor: float | None
    alarm: bool


class Queue(Schema):
    """Cases. open, urgent: how many wait in all, and how many of these are urgent."""

    cases: list[Prediction]
    next: str | None
    open: int
    urgent: int
    feedback: Feedback


class Decided(Schema):
    """A decision. class: of an override, another than the network's."""

    decision: Literal["confirm", "override"]
    class_: str | None = Field(default=None, alias="class", max_length=1000)
    # PostgreSQL takes no text with NUL
    comment: str | None = Field(default=None, max_length=1000, pattern="^[^\\x00]*$")
    etag: str = Field(max_length=100)
