"""What people of other tools type, and what strided calls it.

The names are those of Lightning, lightning-hydra-template, timm's and torchvision's train.py,
Ultralytics, Keras, Hugging Face and scikit-learn.
"""

import re
from collections.abc import Collection, Sequence

from strided.errors import did_you_mean

# Names, apart by spaces, and the words for them; of several, those that the verb has are offered.
# <value> stands for what was typed.
HINTS = {
    # how long, how fast
    "epochs max_epochs num_epochs n_epochs nb_epoch num_train_epochs": "trainer.max_epochs=<value>",
    "max_steps iterations": "trainer.max_steps=<value>",
    "lr learning_rate lr0 base_lr blr initial_lr": "optimizer.lr=<value>",
    "wd weight_decay": "optimizer.weight_decay=<value>",
    "momentum": "optimizer=sgd optimizer.momentum=<value>",
    "optimizer": "optimizer.lr=0.01",  # model.optimizer.lr
    "layer_decay": "optimizer.layer_decay=<value>",
    "opt optim optimiser": "optimizer=<value>",
    "sched lr_scheduler lr_schedule schedule": "scheduler=<value>",
    "warmup warmup_epochs warmup_ratio warmup_steps": (
        "scheduler=cosine scheduler.warmup_fraction=0.05"
    ),
    "criterion loss_fn loss_function": "loss=<value>",
    "label_smoothing smoothing": "loss.label_smoothing=<value>",
    "class_weight class_weights": "loss.class_weights=auto",
    "patience early_stopping early_stop": "callbacks.early_stopping.patience=5",
    "ema model_ema ema_decay": "callbacks.ema.decay=0.999",
    "lr_find auto_lr_find": "callbacks.lr_finder.steps=100",
    "clip_grad grad_clip gradient_clip gradient_clip_val max_grad_norm": (
        "trainer.gradient_clip_val=1.0"
    ),
    "accumulate accumulate_grad_batches gradient_accumulation_steps grad_accum_steps": (
        "trainer.accumulate_grad_batches=<value>"
    ),
    "val_check_interval": "trainer.val_check_interval=<value>",
    # on what
    "gpu cuda": "trainer=gpu, accelerator=gpu",
    "cpu no_cuda": "trainer=cpu, accelerator=cpu",
    "gpus devices num_gpus nproc_per_node": "trainer=ddp trainer.devices=<value>",
    "device": "trainer=gpu, accelerator=gpu",
    "strategy": "trainer.strategy=<value>",
    "amp fp16 half mixed_precision": "trainer.precision=16-mixed, precision=16-mixed",
    "bf16": "trainer.precision=bf16-mixed, precision=bf16-mixed",
    "precision": "trainer.precision=<value>",
    "deterministic": "trainer.deterministic=<value>",
    "profile": "debug=profiler",
    "fast_dev_run dry_run": "debug=fast_dev_run",
    "overfit_batches": "trainer.overfit_batches=<value>",
    "limit_train_batches": "trainer.limit_train_batches=<value>",
    "random_seed random_state seed_everything manual_seed": "seed=<value>",
    # the data
    "dataset datamodule": "data=<value>",
    "data_dir data_path data_root dataset_path dataset_dir train_dir root path": (
        "data=image_folder data.root=<value>"
    ),
    "csv_file train_csv csv": "data=csv data.csv=<value>",
    "b bs batch batch_size train_batch_size per_device_train_batch_size": (
        "data.batch_size=<value>, batch_size=<value>"
    ),
    "j workers num_workers dataloader_num_workers": "data.num_workers=<value>",
    "imgsz img_size image_size input_size crop_size resolution": (
        "data.image_size=<value>, image_size=<value>"
    ),
    "in_channels in_chans num_channels": "data.channels=<value>, channels=<value>",
    "val_split validation_split val_size valid_pct val_pct val_fraction": (
        "data.val_fraction=<value>"
    ),
    "test_split test_size test_fraction": "data.test_fraction=<value>",
    "split_seed": "data.split_seed=<value>",
    "pin_memory": "data.pin_memory=<value>",
    "mean": "data.mean=<value>",
    "std": "data.std=<value>",
    "interpolation": "data.interpolation=<value>",
    "sampler": "data.sampler=class_balanced",
    "transforms transform augmentation augmentations aug": "augment=standard",
    "hflip horizontal_flip fliplr": "augment.horizontal_flip=true",
    "mixup mixup_alpha": "augment.mixup=0.2",
    "cutmix cutmix_alpha": "augment.cutmix=1.0",
    "aa auto_augment randaugment": "augment=randaugment",
    "reprob random_erasing": "augment.erasing=0.25",
    # the network and its weights
    "a arch architecture net network backbone encoder": "model=<value>",
    "model_name": "model=timm model.name=<value>",
    "pretrained": "model.pretrained=true",
    "weights initial_checkpoint finetune_checkpoint": "model.weights=<value>",
    "dropout drop drop_rate": "model.dropout=<value>",
    "freeze freeze_backbone feature_extraction frozen": (
        "model=resnet18 model.pretrained=true transfer=frozen"
    ),
    "finetune fine_tune finetuning": "model=resnet18 model.pretrained=true transfer=two_stage",
    "torchcompile torch_compile": "compile=true",
    # the run and its folder
    "ckpt_path ckpt checkpoint_path checkpoint resume_from_checkpoint resume_from model_path": (
        "resume=<value>, checkpoint=<value>"
    ),
    "source image images img image_path file": "input=<value>",
    "task_name exp_name experiment_name run_name job_name": "name=<value>",
    "output output_dir out_dir save_dir logdir run_dir default_root_dir paths": "log_dir=<value>",
    "exp recipe": "experiment=<value>",
    "loggers report_to": "logger=<value>",
    "wandb use_wandb": "logger=wandb",
    "project wandb_project": "logger=wandb logger.wandb.project=<value>",
    "tensorboard": "logger=tensorboard",
    "mlflow": "logger=mlflow",
    "hparams_search sweeper tune": 'search=optuna "optimizer.lr=tag(log,interval(1e-4,1e-1))"',
    "n_trials num_trials": "search=optuna search.num_trials=<value>",
}
# Names for which no key stands, and what to do instead.
ADVICE = {
    "num_classes nc n_classes classes class_names": "Leave it out: the data decide the classes",
    "train": "Type a verb for it: python src/train.py trains, python src/eval.py only measures",
    "test evaluate validate": (
        "Leave it out: train tests the best checkpoint at its end. To measure one later: "
        "python src/eval.py checkpoint=<run folder>"
    ),
    "extras print_config": "Try --cfg job, which shows the config and runs nothing",
    "config cfg": "Try --config-dir <folder of your own YAML> (docs/extending.md)",
    "folds fold n_splits k_fold": 'Try -m data.num_folds=5 "data.fold=range(5)"',
}
# Commands of other tools, and the verbs for them.
VERBS = {
    "train": "fit finetune",
    "eval": "test val validate evaluate evaluation score",
    "predict": "infer inference classify detect",
    "explain": "interpret gradcam visualize visualise",
    "benchmark": "profile bench speed",
    "export": "onnx deploy convert package torchscript",
}


def hint(name: str, value: str, known: Collection[str] | None = None) -> str:
    """Return the sentence that says what another tool's name is here; empty if none is known.

    `known` are the groups and keys of the verb; None: all of them.
    """
    for names, words in HINTS.items():
        if name.lower().replace("-", "_") in names.split():
            fitting = [part for part in words.split(", ") if known is None or _fits(part, known)]
            if fitting:
                return f"Try {', or '.join(fitting)}".replace("<value>", value or "<value>")
    for names, advice in ADVICE.items():
        if name.lower().replace("-", "_") in names.split():
            return advice
    return ""


def hint_or_close(name: str, value: str, words: Collection[str]) -> str:
    """Return the hint of a name that none of the groups and keys `words` has, else the closest."""
    return hint(name, value, words) or did_you_mean(name, words)


def flag_advice(flag: str, words: Sequence[str], known: Collection[str]) -> str:
    """Return the sentence on a flag that strided does not have: --lr 0.1, --data.root=photos.

    `words` are all that were typed after the verb, `known` the groups and keys of the verb.
    """
    dashed, _, value = flag.partition("=")
    name = dashed.lstrip("-").replace("-", "_")
    following = words[words.index(flag) + 1 :] if flag in words else []
    if not value and following and not following[0].startswith("-") and "=" not in following[0]:
        value = following[0]
    if name.split(".")[0] in known:
        return f"Try {name}={value or '<value>'}"
    return hint_or_close(name, value, known)


def other_verb(name: str) -> str:
    """Return the verb for another tool's command, as a sentence; empty if none is known."""
    found = (verb for verb, names in VERBS.items() if name in names.split())
    return next((f"Did you mean {verb}?" for verb in found), "")


def _fits(words: str, known: Collection[str]) -> bool:
    return all(key.split(".")[0] in known for key in keys_of(words))


def keys_of(words: str) -> list[str]:
    """Return the keys that a hint's words name."""
    return re.findall(r'(?:^|[ "])([\w.]+)=', words)
