"""optimizer=lbfgs: a linear head is solved on kept features; one epoch then measures it."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.errors import UserError
from strided.models.pooled import PooledNetwork
from strided.training.logistic import Candidate, Linear, compared, is_solved, solve, targets_of
from strided.training.losses import CrossEntropy
from strided.training.task import ClassificationTask
from strided.training.trainer import Run
from strided.training.transfer.features import KeptFeatures
from strided.training.transfer.inner_folds import folds_if_possible, inner_folds, keep_inner
from strided.training.transfer.transfer import Transfer

log = logging.getLogger(__name__)

_SLOPE = 1e-6  # where candidates are solved: six digits of their losses, in two thirds of the time


def refuse_unsolvable(config: Config) -> None:
    """Raise UserError for a run whose head would have to be solved, and cannot."""
    transfer = Transfer.of(config)
    if not is_solved(config):
        if transfer.renderings:
            raise UserError(
                f"transfer.renderings={','.join(transfer.renderings)}, but training takes steps; "
                "expected a head that is solved on kept features: in steps, images are augmented. "
                "Try transfer=frozen optimizer=lbfgs, or transfer.renderings=null augment=standard"
            )
        return
    kinds = [stage.trainable for stage in transfer.stages.values()]
    reasons = (
        (
            kinds not in (["head"], [0]),
            "transfer has other stages than one of the head",
            "transfer=frozen",
        ),
        (transfer.cache is False, "transfer.cache=false", "transfer.cache=auto"),
        (transfer.cached_views > 1, "there are several views", "transfer.cached_views=1"),
        (config["data"].get("sampler"), "data.sampler draws images", "loss.class_weights=auto"),
        (
            not str(config["loss"]["_target_"]).endswith(".CrossEntropy"),
            "the loss has no single minimum",
            "loss=cross_entropy",
        ),
    )
    for is_so, why, instead in reasons:
        if is_so:
            raise _unsolvable(why, instead)


def refuse_no_validation(config: Config, data: ImageDataModule) -> None:
    """Raise UserError for training in steps without images to choose the best checkpoint by.

    A data set's own validation split that nothing will look at is told.
    """
    given = len(data.splits["val"])
    if is_solved(config) and given and config["data"].get("val_fraction") == 0:
        log.warning(
            "the data set's own val split (%d images) is not trained on, and no epoch is validated "
            "on it, for data.val_fraction=0; after training, probabilities are calibrated on it. "
            "~data.val_fraction has it validated",
            given,
        )
    if not given and not is_solved(config):
        raise UserError(
            "data.val_fraction=0 leaves no validation images; expected some: the best checkpoint "
            "is chosen on them. Try data.val_fraction=0.1, or transfer=frozen optimizer=lbfgs, "
            "which has one solution"
        )


def _unsolvable(why: str, instead: str) -> UserError:
    return UserError(
        f"optimizer=lbfgs cannot solve this: {why}; expected one linear layer that is trained on "
        f"kept features by cross-entropy. Try {instead}, or optimizer=adam"
    )


def solve_head(
    run: Run,
    task: ClassificationTask,
    data: ImageDataModule,
    kept: KeptFeatures,
    rendered: Sequence[KeptFeatures] = (),
) -> None:
    """Set the head's linear layer to the solution on the training images, and log how it was found.

    An image counts once: as it is, and as it is `rendered`, to equal parts. Inner folds have all of
    these together; what they are kept for later is of images as they are. Raises UserError for a
    head with other weights.
    """
    if run.trainer.world_size > 1:
        raise _unsolvable("there are several processes", "trainer.devices=1")
    linear = linear_of(kept.layers.cut.parts.trained)
    task.frozen = [*task.frozen, *_dropouts(kept.layers.cut.parts.trained)]
    indices = data.readable("train")
    shown = [kept, *rendered]
    features = torch.cat([inputs_of(task, linear, data, one, indices) for one in shown])
    criterion = task.criterion
    assert isinstance(criterion, CrossEntropy)
    labels = torch.from_numpy(data.source.labels[indices])
    targets = targets_of(criterion, labels, len(data.classes)).repeat(len(shown), 1)
    node = run.config["optimizer"]
    penalties = np.atleast_1d(node["l2"]).tolist()
    sizes = _sizes(task.model, node.get("last"), features.shape[1])
    found = None
    if len(penalties) * len(sizes) > 1:
        fold_of = inner_folds(data, indices, node["folds"], run.config["seed"])
        fold_of = np.tile(fold_of, len(shown))
        found = list(compared(features, targets, fold_of, penalties, list(sizes), _SLOPE))
        best = min(found, key=lambda candidate: candidate.loss)
        l2, size = best.l2, best.size
        keep_inner(run, data, indices, best.logits[: len(indices)])
    else:
        l2, size = penalties[0], next(iter(sizes))
        if not len(data.splits["val"]):
            folds = folds_if_possible(data, indices, node["folds"], run.config["seed"])
            if folds is not None:
                folds = np.tile(folds, len(shown))
                alone = next(compared(features, targets, folds, [l2], [size]))
                keep_inner(run, data, indices, alone.logits[: len(indices)])
    layer = solve(features[:, :size], targets, l2)
    _set(linear, layer)
    _describe(run, found, layer, l2, sizes, size, len(indices))


def linear_of(units: list[nn.Module]) -> nn.Linear:
    """The one layer with weights among what is trained. Raises UserError if it is not linear."""
    layers = [
        module
        for unit in units
        for module in unit.modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    if len(layers) != 1 or not isinstance(layers[0], nn.Linear) or layers[0].bias is None:
        kinds = ", ".join(type(layer).__name__ for layer in layers[:4])
        raise _unsolvable(f"the head has the layers {kinds}", "model.head=linear")
    return layers[0]


def _dropouts(units: list[nn.Module]) -> list[nn.Module]:
    """Layers of dropout, which have no part in a solution."""
    return [m for unit in units for m in unit.modules() if isinstance(m, nn.Dropout)]


def inputs_of(
    task: ClassificationTask,
    linear: nn.Linear,
    data: ImageDataModule,
    kept: KeptFeatures,
    indices: np.ndarray,
) -> Tensor:
    """What the linear layer is given for each of these images: (N, F), on the CPU.

    The task takes features in place of images.
    """
    was_training = task.training
    found: list[Tensor] = []
    handle = linear.register_forward_pre_hook(lambda _, given: found.append(given[0].cpu()))
    task.eval()
    try:
        with torch.no_grad():
            for batch in data.loader("train", indices, features=kept):
                task(batch.images.to(task.device))
    finally:
        handle.remove()
        task.train(was_training)
    return torch.cat(found)


def _sizes(net: nn.Module, last: list[str | int] | None, whole: int) -> dict[int, str | None]:
    """Numbers of features to try, each with the last block that they are of, if that is chosen."""
    if last is None:
        return {whole: None}
    if not isinstance(net, PooledNetwork):
        raise UserError(
            f"optimizer.last={last} chooses among pooled blocks, and this head pools none; "
            "expected model.head=pooled. Try optimizer.last=null"
        )
    names = list(net.block_units)
    ends, done = {}, 0
    for name, size in net.sizes:
        done += size
        ends[name] = done
    chosen = {}
    for block in last:
        numbered = isinstance(block, int) and 0 <= block < len(names)
        name = names[int(block)] if numbered else str(block)
        if name not in ends:
            raise UserError(
                f"optimizer.last has {block}, which is not pooled; expected some of "
                f"model.pooled=[{','.join(ends)}]. Try optimizer.last=[{names[-1]}]"
            )
        chosen[ends[name]] = name
    return dict(sorted(chosen.items()))


def _set(linear: nn.Linear, layer: Linear) -> None:
    """Take the solution over; features that it has left out count nothing."""
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[:, : layer.weight.shape[1]] = layer.weight.to(linear.weight)
        linear.bias.copy_(layer.bias)


def _describe(
    run: Run,
    found: list[Candidate] | None,
    layer: Linear,
    l2: float,
    sizes: Mapping[int, str | None],
    size: int,
    images: int,
) -> None:
    last = sizes[size]
    rendered_as = Transfer.of(run.config).rendered_as
    run.results["solved"] = {
        "renderings": rendered_as,
        "l2": l2,
        "last": last,
        "features": size,
        "folds": run.config["optimizer"]["folds"] if found else None,
        "converged": layer.converged,
        "slope": layer.slope,
        "candidates": [
            {
                "l2": one.l2,
                "last": sizes[one.size],
                "loss": one.loss,
                "converged": one.converged,
            }
            for one in found or []
        ],
    }
    log.info(
        "head solved on %d numbers of %d images%s%s, l2 %g (scikit-learn's C %.3g)%s",
        size,
        images,
        f", as they are and in {len(rendered_as)} renderings" if rendered_as else "",
        f" up to {last}" if last else "",
        l2,
        1 / (l2 * images),
        f", chosen among {len(found)} by inner folds" if found else "",
    )
    if not layer.converged or any(not one.converged for one in found or []):
        log.warning(
            "the search for a head's weights ended before the minimum (slope of the loss %.0e): "
            "results.json says of which candidate; a larger optimizer.l2 is found sooner",
            layer.slope,
        )
