"""The top-level keys of a config, with their types as a verb gets them."""

from typing import Any, Literal, TypedDict, cast

Node = dict[str, Any]  # the choices of one group, often a `_target_` with its arguments


# of a trained network; the names are Lightning's
InferencePrecision = Literal["32-true", "bf16-mixed", "16-mixed"]


# of an image, whose answers are averaged
Views = Literal["none", "flip", "multicrop"]


class EvaluationKeys(TypedDict, total=False):
    """How a decision is made of probabilities; None in eval: as in training."""

    sets: Literal["lac", "aps"] | None
    coverage: float | None
    operating_point: float | None  # a sensitivity
    gate: Literal["mahalanobis", "knn"] | None
    false_alarms: float
    views: Views | None  # None in training: none


class TriageKeys(TypedDict, total=False):
    """Which cases are decided without a person; None in eval: as in training."""

    max_risk: float | None
    urgent: list[str | int] | None
    copies: int | None  # most pictures of cases that are copied


class BatchKeys(TypedDict):
    """Of serve: pictures that run together."""

    max: Literal["auto"] | int
    window_ms: float


class QueueKeys(TypedDict):
    """Of serve: how many pictures wait, and how long."""

    images: int
    deadline_s: float


class LimitsKeys(TypedDict):
    """Of serve: what a stranger's file may take."""

    body_mb: float
    files: int
    pixels: float  # so that 36e6 may be typed
    dicom_memory_mb: int
    dicom_seconds: int


class DrainKeys(TypedDict):
    """Of serve: how it stops."""

    delay_s: float
    limit_s: float


class JwtKeys(TypedDict, total=False):
    """Of serve: the tokens of a hospital's sign-in."""

    public_key: str  # a file
    algorithm: Literal["RS256", "EdDSA"]
    issuer: str
    audience: str


class AccessKeys(TypedDict):
    """Of serve: who may ask."""

    enabled: bool
    jwt: JwtKeys | None
    rate_per_minute: int
    metrics_public: bool


class TlsKeys(TypedDict):
    """Of serve: files of a certificate and of its key."""

    cert: str | None
    key: str | None


class ProxyKeys(TypedDict):
    """Of serve: what stands before it."""

    addresses: list[str]


class AuditKeys(TypedDict):
    """Of serve: where it writes who did what."""

    url: str | None  # None: a file of SQLite in the state folder
    anchor: str | None


class ReviewKeys(TypedDict):
    """Of serve: cases that a person decides."""

    keep_hours: float
    comments: bool
    export: str | None  # a folder


class DriftKeys(TypedDict):
    """Of serve: what tells that the model is no longer as good."""

    accuracy_floor: float | None


class PlainKeys(TypedDict, total=False):
    """The keys that belong to no group. Each verb has some of them: see conf/<verb>.yaml."""

    # of most verbs
    seed: int
    name: str  # of the run folder
    tags: list[str]
    log_dir: str | None  # holds all run folders; None: logs/ of the checkout or the cwd
    trust: list[str]  # further packages that a _target_ may name
    traceback: bool
    accelerator: str
    batch_size: int
    # of verbs that train
    resume: str | None
    compile: bool
    channels_last: bool
    matmul_precision: Literal["highest", "high", "medium"]
    shortcuts: bool  # look for them after the test
    calibration: Literal["auto", "temperature", "platt", "isotonic", "vector", "none"] | None
    evaluation: EvaluationKeys
    triage: TriageKeys
    sweep: Node | None  # of an experiment that has many runs
    # of verbs that read a checkpoint
    checkpoint: str | list[str] | None  # several answer as one; None: `model` is the network
    input: str
    split: Literal["test", "val"]
    overlap: Literal["refuse", "exclude"]  # images of the split that were seen in training
    precision: InferencePrecision | None  # None: on a GPU as in training, on a CPU float32
    # of export and serve
    bundle: str  # <registry>/<name>
    gate: str | None  # another, whose active version must not be better
    force: bool
    int8: bool
    openvino: bool
    intended_use: str | None
    # of serve
    host: str
    port: int
    runtime: Literal["onnxruntime", "openvino"]
    sessions: Literal["auto"] | int
    batch: BatchKeys
    queue: QueueKeys
    limits: LimitsKeys
    drain: DrainKeys
    state: str | None  # a folder; None: beside the run folders
    access: AccessKeys
    tls: TlsKeys
    behind_proxy: bool
    proxy: ProxyKeys
    audit: AuditKeys
    review: ReviewKeys
    drift: DriftKeys
    # of audit and keys
    database: str
    role: Literal["viewer", "clinician", "admin", "auditor"]
    action: Literal["verify", "export"]
    anchor: str | None
    format: Literal["csv", "jsonl"]
    # of explain
    max_images: int
    target: str | int | list[str | int] | None
    methods: list[Literal["grad_cam", "grad_cam_pp", "integrated_gradients", "occlusion"]]
    layer: str | None
    maps: int
    cam_layer: str | None
    sanity: bool
    # of compare and benchmark
    models: dict[str, Node]  # by the typed names
    runs: list[str]
    pool: list[str]
    prevalence: float | dict[str, float] | None  # of each class, or of some
    num_classes: int
    image_size: int | None
    channels: int
    measure: bool
    repeats: int
    seconds: float


class Config(PlainKeys, total=False):
    """A whole config, resolved: the plain keys, and a node for each group of the verb.

    A group whose option is null has None for its node: `data` of eval, `model` of a checkpoint.
    """

    data: Node
    model: Node
    optimizer: Node
    scheduler: Node
    loss: Node
    augment: Node
    transfer: Node
    trainer: Node
    callbacks: Node  # a node, or None, for each name
    logger: Node  # as callbacks
    search: Node


def node_of(config: Config, group: str) -> Node:
    """The node of a group whose name is known only at run time."""
    return cast("dict[str, Node]", config)[group]
