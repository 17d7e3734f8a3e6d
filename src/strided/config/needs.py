"""What each key of train and benchmark needs of the rest of the config in order to count."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from strided.config.keys import Node
from strided.config.schema import OFF_WHEN_NULL


@dataclass(frozen=True)
class Need:
    """`keys` (patterns, apart by spaces) do nothing in a config where what they need `is_missing`.

    `why` is a clause, `instead` completes "Try".
    """

    keys: str
    is_missing: Callable[[Mapping[str, Any]], bool]
    why: str
    instead: str


def always(_: Mapping[str, Any]) -> bool:
    """Say that nothing can meet a need."""
    return True


def _stages(config: Mapping[str, Any]) -> list[Node]:
    stages = (config.get("transfer") or {}).get("stages") or {}
    return [stage for stage in stages.values() if stage]


def _each_stage_has(key: str) -> Callable[[Mapping[str, Any]], bool]:
    def holds(config: Mapping[str, Any]) -> bool:
        stages = _stages(config)
        return bool(stages) and all(stage.get(key) is not None for stage in stages)

    return holds


def _trains_all(config: Mapping[str, Any]) -> bool:
    return all(stage.get("trainable", "all") == "all" for stage in _stages(config))


def _ends_before(config: Mapping[str, Any]) -> bool:
    """Whether the stages of a run are over before its last epoch."""
    lengths: list[Any] = [stage.get("epochs") for stage in _stages(config)]
    most = config["trainer"].get("max_epochs")
    return len(lengths) > 1 and None not in lengths and most is not None and sum(lengths) < most


def _lasts_otherwise(config: Mapping[str, Any]) -> bool:
    lengths = [stage.get("epochs") for stage in _stages(config)]
    return len(lengths) == 1 and lengths != [config["trainer"].get("max_epochs")]


def _least_above_most(unit: str) -> Callable[[Mapping[str, Any]], bool]:
    def holds(config: Mapping[str, Any]) -> bool:
        least, most = (config["trainer"].get(f"{end}_{unit}") for end in ("min", "max"))
        return least is not None and most is not None and 0 <= most < least

    return holds


def _never_ends_early(config: Mapping[str, Any]) -> bool:
    """Whether nothing can end a run before its last epoch."""
    others = _has_other_callbacks(config) or config["trainer"].get("max_time")
    at_target = (config["callbacks"].get("target") or {}).get("stop")
    return not others and not at_target and not stops_early(config)


def _has_other_callbacks(config: Mapping[str, Any]) -> bool:
    usual = ("checkpoint", "early_stopping", *(path.split(".")[1] for path in OFF_WHEN_NULL))
    return any(node for name, node in config["callbacks"].items() if name not in usual)


def stops_early(config: Mapping[str, Any]) -> bool:
    """Whether early stopping is on, in a stage at least."""
    node = config["callbacks"].get("early_stopping") or {}
    patience = [node.get("patience"), *(stage.get("patience") for stage in _stages(config))]
    return bool(node) and any(value is not None for value in patience)


def _is_one_cycle(config: Mapping[str, Any]) -> bool:
    return str(config["scheduler"].get("_target_")).endswith((".OneCycle", ".OneCycleLR"))


def _cycles_momentum(config: Mapping[str, Any]) -> bool:
    keeps = config["optimizer"].get("_target_") == "strided.training.Muon"
    cycles = bool(config["scheduler"].get("cycle_momentum", True))
    return _is_one_cycle(config) and cycles and not keeps


def _has_own_peak(config: Mapping[str, Any]) -> bool:
    other = config["scheduler"].get("max_lr") != config["optimizer"].get("lr")
    return _is_one_cycle(config) and other and all(s.get("lr") is None for s in _stages(config))


def _is_alone(config: Mapping[str, Any]) -> bool:
    return [config["trainer"].get(key, 1) for key in ("devices", "num_nodes")] == [1, 1]


def _views_are_the_same(config: Mapping[str, Any]) -> bool:
    augments = any(value for key, value in config["augment"].items() if key != "_target_")
    return not augments and config["transfer"].get("cached_views") != 1  # which is what happens


def _is_solved(config: Mapping[str, Any]) -> bool:
    return str(config["optimizer"].get("_target_")).endswith("strided.training.LBFGS")


def _is_own(augment: Mapping[str, Any]) -> bool:
    return not str(augment.get("_target_")).endswith(".BatchAugment")


def _mirrors_otherwise(config: Mapping[str, Any]) -> bool:
    augment, wanted = config["augment"], config["data"].get("horizontal_flip")
    views = (config.get("evaluation") or {}).get("views") not in (None, "none")
    own = _is_own(augment) or views
    return not own and augment.get("horizontal_flip", False) != wanted


def _mirrors_nothing(config: Mapping[str, Any]) -> bool:
    return not _is_own(config["augment"]) and not config["augment"].get("horizontal_flip")


def _stays_inside(config: Mapping[str, Any]) -> bool:
    moves = ("crop_padding", "rotation", "zoom", "elastic")
    return not _is_own(config["augment"]) and not any(map(config["augment"].get, moves))


NEEDS = (
    Need("search search.*", always, "this is no search", "search=optuna without -m"),
    Need(
        "model.pooled model.pool",
        lambda config: config["model"].get("head") != "pooled",
        "only model.head=pooled reads it",
        "model.head=pooled with it",
    ),
    Need(
        "data.horizontal_flip",
        _mirrors_otherwise,
        "only an augmentation reads it, and the chosen one mirrors or not by itself",
        "augment=standard, or augment.horizontal_flip=...",
    ),
    Need(
        "evaluation.coverage",
        lambda config: not (config.get("evaluation") or {}).get("sets"),
        "there are no prediction sets",
        "evaluation.sets=lac with it",
    ),
    Need(
        "evaluation.false_alarms",
        lambda config: not (config.get("evaluation") or {}).get("gate"),
        "no gate refuses images",
        "evaluation.gate=mahalanobis with it",
    ),
    Need(
        "data.test_fraction",
        lambda config: config["data"].get("num_folds") is not None,
        "the fold is the test split",
        "another data.num_folds: of 5, a fold has a fifth of the images",
    ),
    Need(
        "data.crop_fraction",
        lambda config: config["data"].get("resize") == "pad",
        "data.resize=pad crops nothing",
        "data.resize=crop or squash",
    ),
    Need(
        "augment.flip",
        _mirrors_nothing,
        "no image is mirrored",
        "augment.horizontal_flip=true with it, or augment=standard",
    ),
    Need(
        "augment.border",
        _stays_inside,
        "nothing comes in from outside the image",
        "augment.crop_padding=0.125 with it",
    ),
    Need(
        "augment.rand_augment_magnitude",
        lambda config: not config["augment"].get("rand_augment_ops"),
        "RandAugment is off",
        "augment=randaugment",
    ),
    Need(
        "callbacks.image_size.*",
        lambda config: bool(_stages(config)),
        "stages of transfer keep features of images of one size",
        "transfer=none with it",
    ),
    Need(
        "transfer.cache transfer.cached_views",
        _trains_all,
        "no stage freezes layers whose features could be kept",
        "transfer=frozen or two_stage",
    ),
    Need(
        "transfer.cached_views",
        lambda config: config["transfer"].get("cache", "auto") is False,
        "transfer.cache=false keeps no features",
        "transfer.cache=auto",
    ),
    Need(
        "transfer.cached_views",
        _views_are_the_same,
        "without augmentation all views are the same",
        "augment=standard beside it",
    ),
    Need(
        "transfer.stages.*.epochs",
        _lasts_otherwise,
        "the only stage takes trainer.max_epochs",
        "trainer.max_epochs=... alone",
    ),
    Need(
        "transfer.stages.*.patience",
        lambda config: not config["callbacks"].get("early_stopping"),
        "callbacks.early_stopping=null takes early stopping away",
        "it without callbacks.early_stopping=null",
    ),
    Need(
        "trainer.max_epochs",
        _ends_before,
        "the stages of transfer are over before",
        "a larger transfer.stages.<name>.epochs",
    ),
    *(
        Need(
            f"trainer.min_{unit}",
            _least_above_most(unit),
            f"trainer.max_{unit} is lower",
            f"trainer.max_{unit}=<more>",
        )
        for unit in ("epochs", "steps")
    ),
    Need(
        "trainer.min_epochs trainer.min_steps",
        _never_ends_early,
        "nothing ends this run before its last epoch",
        "callbacks.early_stopping.patience=5 with it",
    ),
    Need(
        "trainer.gradient_clip_algorithm",
        lambda config: not config["trainer"].get("gradient_clip_val"),
        "no gradient is clipped",
        "trainer.gradient_clip_val=1.0 with it",
    ),
    Need(
        "trainer.limit_train_batches trainer.limit_val_batches",
        lambda config: bool(config["trainer"].get("overfit_batches")),
        "trainer.overfit_batches decides the batches",
        "trainer.overfit_batches=...",
    ),
    Need(
        "trainer.log_every_n_steps",
        lambda config: not _has_other_callbacks(config),
        "metrics are logged once an epoch",
        "a shorter epoch by trainer.limit_train_batches",
    ),
    Need("trainer.sync_batchnorm", _is_alone, "there is one process", "trainer.devices=2 with it"),
    *(
        Need(f"trainer.{key}", always, why, instead)
        for key, why, instead in (
            (
                "limit_predict_batches",
                "nothing is predicted here",
                "trainer.limit_test_batches=...",
            ),
            ("use_distributed_sampler", "strided shares images out itself", "data.sampler=..."),
            ("model_registry", "checkpoints stay in the run folder", "logger.wandb.log_model=true"),
        )
    ),
    Need(
        "scheduler scheduler.* trainer.max_epochs trainer.min_epochs trainer.max_steps "
        "trainer.min_steps trainer.accumulate_grad_batches trainer.gradient_clip_val "
        "callbacks.lr_finder.* callbacks.ema.* callbacks.lookahead.* "
        "callbacks.early_stopping.* "
        "transfer.stages.*.patience transfer.stages.*.lr transfer.stages.*.layer_decay",
        _is_solved,
        "optimizer=lbfgs solves the head, and takes no steps",
        "optimizer=adam with it",
    ),
    Need(
        "data.external",
        lambda config: not config.get("shortcuts"),
        "only the check for shortcuts looks at other images",
        "shortcuts=true with it",
    ),
    Need(
        "optimizer.folds",
        lambda config: (
            _is_solved(config)
            and not isinstance(config["optimizer"].get("l2"), list)
            and not config["optimizer"].get("last")
        ),
        "one optimizer.l2 leaves nothing to choose",
        "optimizer.l2=[0.3,0.1,0.03] with it",
    ),
    Need(
        "optimizer.lr",
        _has_own_peak,
        "scheduler.max_lr decides every rate of the cycle",
        "scheduler.max_lr=...",
    ),
    Need(
        "optimizer.momentum optimizer.betas",
        _cycles_momentum,
        "the one-cycle schedule moves the momentum itself",
        "scheduler.cycle_momentum=false with it, or scheduler.max_momentum=...",
    ),
    Need(
        "scheduler.base_momentum scheduler.max_momentum",
        lambda config: _is_one_cycle(config) and not _cycles_momentum(config),
        "scheduler.cycle_momentum=false leaves the momentum alone",
        "optimizer.momentum=...",
    ),
    Need(
        "optimizer.dampening",
        lambda config: not config["optimizer"].get("momentum"),
        "there is no momentum to dampen",
        "optimizer.momentum=0.9 with it",
    ),
    *(
        Need(
            keys,
            _each_stage_has(key),
            f"each stage of transfer has its own {key}",
            f"transfer.stages.<name>.{key}=...",
        )
        for key, keys in (
            ("lr", "optimizer.lr"),
            ("layer_decay", "optimizer.layer_decay"),
            ("scheduler", "scheduler scheduler.*"),
        )
    ),
)
