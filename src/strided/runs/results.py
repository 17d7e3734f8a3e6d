"""The contract of results.json: its keys and their meanings."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypedDict, cast

from strided.config.keys import InferencePrecision, Views


class Git(TypedDict, total=False):
    """The state of the code; None outside a checkout."""

    commit: str | None
    dirty: bool | None  # changed since that commit


class Hardware(TypedDict, total=False):
    """The machine of a run."""

    cpu: str
    cores: int | None
    torch_threads: int
    accelerator: str | None  # the name of the GPU
    gpu: "Gpu | None"  # None without an NVIDIA or AMD one


class Gpu(TypedDict):
    """The GPU that torch takes by default, and the software it runs with."""

    count: int  # of the machine, as far as torch may see them
    memory_bytes: int
    compute_capability: str  # 9.0: H100
    driver: str | None
    cuda: str | None  # that torch was built with
    cudnn: int | None  # 91900: 9.19.0


class GpuUse(TypedDict):
    """What fit took of an NVIDIA GPU, in the last session and in the first process."""

    peak_allocated_bytes: int  # the most in tensors
    peak_reserved_bytes: int  # the most that torch held for them
    # mean share of time, 0 to 1, with any process at work there; None without nvidia-ml-py
    utilisation: float | None


class Parameters(TypedDict):
    """The number of parameters of the network."""

    total: int
    trainable: int


# The metrics that the code reads under a fixed name; `by_name` reaches all others.
Metrics = TypedDict(
    "Metrics",
    {
        "test/acc": float,
        "test/acc_ci95": Sequence[float],  # the two ends of a 95 % interval
        "test/loss": float,
        "test/ece": float,
        "val/acc": float,
        "val/loss": float,
        "best_val/acc": float | None,  # of the epoch whose weights were kept
    },
    total=False,
)


class Results(Metrics, total=False):
    """The content of results.json; each verb, and each way to end, leaves out keys without a value.

    Further keys are `<split>/<metric>`, `<split>/<metric>/<class>` and `best_<monitor>`. Of the
    first two an interval has `_ci95` after the metric.
    """

    # the command and how it ended, of every verb
    command: list[str]  # what was typed
    state: Literal["running", "finished", "failed", "interrupted"]  # running: killed, or runs
    error: str  # why it failed
    resumed_with: list[list[str]]  # what was typed at each resume
    git: Git  # of the code
    versions: dict[str, str]  # of Python, strided and the packages its numbers depend on
    hardware: Hardware  # of the last session
    seed: int  # as in the config
    # the data
    classes: list[str]  # by index
    splits: dict[str, int]  # images of each
    split_hash: str  # changes if any image changes its split
    fold: int  # the one that is the test split, of 0 to num_folds - 1
    num_folds: int
    partition_hash: str  # of all folds: the same in the run of each
    data_fingerprint: str  # of the images
    preprocessing: dict[str, Any]  # as in a checkpoint
    extra: dict[str, int]  # images of data.extra: added to train, and left out for which reason
    skipped: int  # images that could not be read
    ignored_files: int  # files that are no images, or outside the class folders
    ignored_by_ending: dict[str, int]  # the same files
    folders_left_out: dict[str, str]  # of classes or splits, and why: with data.on_error=skip
    duplicates: int | None  # images with the same pixels in two splits; None: not looked for
    # the network and its training
    parameters: Parameters  # trainable: in the last stage
    macs: int  # multiply-adds of an image
    class_weights: dict[str, float]  # of the loss
    execution: dict[str, Any]  # device, precision, switches and place of images of the training
    stages: list[dict[str, Any]]  # the started ones, of a run that has stages
    solved: dict[str, Any]  # how optimizer=lbfgs found the head: l2, and the loss of each candidate
    lr_finder: dict[str, Any]  # the suggestion, and the losses behind it
    fit_finished: int | None  # trainer.max_epochs of the last completed fit
    gpu_use: GpuUse  # of a run on an NVIDIA GPU
    train_seconds: float  # all of fit, over all resumes
    target: dict[str, Any]  # of callbacks.target: monitor and value
    # until it was reached; None: it was not
    seconds_to_target: float | None  # inside fit
    epochs_to_target: float | None
    flops_to_target: float | None
    images_per_second: float | None  # of training
    best_epoch: int | None  # the epoch of best.ckpt's weights
    # the test, or the split that eval measured
    tested: int  # images
    confusion: list[list[int]]  # a row for each true class
    inference_precision: InferencePrecision  # of the network in it, and in predict
    views: Views | None  # of each image, whose answers were averaged in it, in eval and predict
    overlap: dict[str, Any] | None  # images seen in training; None: that is not known
    calibration: dict[str, Any]  # how it was fitted; errors of the probabilities, before and after
    sets: dict[str, Any]  # prediction sets: their threshold, what they cover
    gate: dict[str, Any]  # what it was fitted on, and which images it refused
    refusals: dict[str, Any]  # of predict: which images the gate refused
    ensemble: dict[str, Any]  # of several checkpoints: each member, and the ensemble against it
    operating_point: float | None  # the sensitivity at which each class was also decided
    groups: int  # patients, or what else belongs together, of the measured images
    subgroups: list[dict[str, Any]]  # a row for each part of the measured images, with its figures
    selective: dict[str, Any]  # risk by coverage of the measured split, thresholds for two risks
    triage: dict[str, Any]  # the policy, and how many cases go where
    shortcuts: dict[str, Any]  # of a run with shortcuts=true: counts, and the verdict on them
    # the validation images, of a run of train without a test split
    val_confusion: list[list[int]]
    val_overlap: dict[str, Any] | None
    diagnosis: dict[str, Any]  # over- or underfitting
    # of predict and explain
    images: Any  # predict: how many; explain: an entry for each
    unreadable: int  # images
    images_found: int  # before max_images
    layers: dict[str, Any]  # the layers explained; for layer=? all of them
    methods: list[str]  # of the heatmaps
    refused: dict[str, str]  # methods that this network does not allow, and why
    parameters_used: dict[str, Any]  # of the methods
    figures: dict[str, Any]  # files, relative to the run folder
    # of compare
    models: list[dict[str, Any]]  # a row for each
    device: str  # the device that was measured
    threads: int  # of torch, on the CPU
    runs: list[dict[str, Any]]  # a row for each
    pairs: list[dict[str, Any]]  # of runs, tested against each other
    pools: list[dict[str, Any]]  # of folds: each with its metrics
    resamples: int  # of the bootstrap
    # of export
    bundle: dict[str, Any]  # its name and version, and what its manifest says of the network
    comparison: dict[str, Any]  # with the active version of gate=
    int8: dict[str, Any]  # what int8 layers cost
    openvino: dict[str, Any]  # whether that runtime answers alike
    # of audit
    audit: dict[str, Any]  # how many rows follow each other, the last's hash, the first bad one
    # of benchmark
    benchmarks: list[dict[str, Any]]  # a row for each model


class Measured(NamedTuple):
    """The split that train or eval measured: its confusion matrix, its images seen in training."""

    split: Literal["test", "val"]
    confusion: list[list[int]]
    overlap: dict[str, Any] | None


def measured(results: Results) -> Measured | None:
    """The test of a run, or else its validation; None if the best checkpoint met neither."""
    if "test/acc" in results:
        return Measured("test", results.get("confusion", []), results.get("overlap"))
    if "val/acc" in results:
        of_eval = results.get("confusion", []), results.get("overlap")  # which has no other split
        return Measured(
            "val", results.get("val_confusion", of_eval[0]), results.get("val_overlap", of_eval[1])
        )
    return None


def by_name(results: Results) -> dict[str, Any]:
    """The same results, for composed keys such as f"{split}/acc"."""
    return cast("dict[str, Any]", results)
