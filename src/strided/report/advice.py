"""What to try after what a report has found, except what the run already does."""

from collections.abc import Mapping, Sequence
from typing import Any

from strided.config.keys import Config
from strided.config.targets import build
from strided.data import BatchAugment


def is_augmented(config: Config, stages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last stage saw augmented images; stored features of a single view did not."""
    kept = stages[-1].get("features") if stages else None
    chosen: bool = build(config["augment"], "augment") != BatchAugment()
    return chosen and (kept is None or kept["views"] > 1)


def advise(found: set[str], config: Config, stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Advice for the verdict and the trends that were found, by their names."""
    model = config["model"]
    augmented = is_augmented(config, stages)
    pretrained = bool(model.get("pretrained") or model.get("weights"))
    has_weights = "pretrained" in model
    advice = []
    if found & {"overfitting", "early", "loss_rising"}:
        if not augmented:
            views = " transfer.cached_views=5" if stages and "features" in stages[-1] else ""
            advice.append(
                f"Augment the training images: augment=standard{views}, then augment=strong."
            )
        if not pretrained and has_weights:
            advice.append(
                "Begin with pretrained weights: model.pretrained=true transfer=two_stage."
            )
        advice.append("More weight decay (optimizer=adamw optimizer.weight_decay=0.05), dropout.")
        advice.append("More training images, if there are any.")
    if found & {"underfitting", "chance", "unlearned"}:
        advice.append("Look for a better learning rate: callbacks.lr_finder.steps=100.")
        advice.append("Train for longer (trainer.max_epochs), or a larger network (model=).")
        if augmented:
            advice.append("Augment less: augment=none.")
    unfinished = bool(found & {"improving", "loss_falling"})
    if unfinished and len(stages) > 1:
        advice.append(
            "Train for longer: a new run with more of "
            f"transfer.stages.{stages[-1]['name']}.epochs, and of trainer.max_epochs with it."
        )
    elif unfinished:
        advice.append(
            "Train for longer: resume=<this folder> trainer.max_epochs=<more>; where a schedule "
            "has let the learning rate fall, a new run that is longer from the start."
        )
    if "diverged" in found:
        advice.append("A lower optimizer.lr, or trainer.gradient_clip_val=1.0.")
    if "plateau" in found and "overfitting" not in found and "underfitting" not in found:
        advice.append(
            "A few more epochs at this learning rate would change little; "
            "callbacks.early_stopping.patience=5 would end the run sooner."
        )
    if "settled" in found:
        advice.append("Only a new run with a longer schedule tells whether more epochs would help.")
    return advice
