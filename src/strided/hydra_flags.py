"""What is shown in place of a run: a config (--cfg), and what Hydra knows (--info, --hydra-help).

Hydra itself writes the answers. The config is checked first, as that of a run is.
"""

import io
import logging
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import Container, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from strided.completion import complete
from strided.config.compose import compose_hydra
from strided.config.hydra_app import hydra_of_our_own, with_hydra_node
from strided.config.overrides import normalise
from strided.config.primary import primary
from strided.config.unused import refuse_unused
from strided.config.yaml_files import primary_name
from strided.errors import UserError, did_you_mean, first_line
from strided.flags import Typed
from strided.jobs.job import compose_run
from strided.version import __version__


def answer(typed: Typed) -> str:
    """Return what a flag asks for. Raises UserError."""
    if typed.version:
        return f"strided {__version__} (Hydra {hydra.__version__})"
    if typed.hydra_help:
        return hydra_help()
    if typed.shell_completion:
        return complete(typed)
    overrides = normalise(typed.verb, typed.words, typed.config_dir)
    config = checked(typed.verb, typed.words, overrides, typed.config_dir)
    if typed.info:
        return info(typed.info, typed.verb, overrides, typed.config_dir)
    whole = with_hydra_node(typed.verb, overrides, typed.config_dir)
    with open_dict(config):
        config["hydra"] = whole.hydra
    return shown(config, str(typed.cfg), typed.package, resolve=typed.resolve)


def checked(
    verb: str, words: Sequence[str], overrides: Sequence[str], config_dir: Path | None
) -> DictConfig:
    """Compose a config; where nothing is missing in it, refuse what a run would refuse."""
    config, _ = compose_hydra(verb, overrides, config_dir)
    try:
        is_whole = not OmegaConf.missing_keys(config)
    except OmegaConfBaseException:  # a reference to what is not there
        is_whole = True
    if is_whole:
        run, _ = compose_run(verb, words, config_dir)
        if "trainer" in run:
            refuse_unused(run, words)
    return config


def shown(config: DictConfig, kind: str, package: str | None, *, resolve: bool) -> str:
    """Return the YAML of the job, of Hydra or of all, or of one node of it (`package`)."""
    HydraConfig.instance().set_config(config)  # ${hydra:...} reads it
    OmegaConf.set_readonly(config.hydra, None)
    with hydra_of_our_own() as own:
        config = own.get_sanitized_cfg(config, kind)
    try:
        node = config if package in (None, "_global_") else OmegaConf.select(config, str(package))
        if node is None:
            keys = list(map(str, config))
            raise UserError(
                f"--package {package}: the config has no such key; expected one with a value. "
                f"{did_you_mean(str(package), keys)}"
            )
        if not isinstance(node, Container):
            return str(node)
        if resolve:
            OmegaConf.resolve(node)
    except OmegaConfBaseException as error:
        raise UserError(
            f"--package or --resolve found what does not exist: {first_line(error)}; expected "
            "${another.key}. Try --cfg job alone"
        ) from error
    head = f"# @package {package}\n" if node is not config else ""
    return (head + OmegaConf.to_yaml(node)).rstrip("\n")


def info(kind: str, verb: str, overrides: Sequence[str], config_dir: Path | None) -> str:
    """Return what Hydra says about its defaults lists, plugins and search path."""
    words = [*overrides, *primary().settings(overrides)]
    with _as_text() as text, hydra_of_our_own(config_dir) as own:
        own.show_info(kind, config_name=primary_name(verb, config_dir), overrides=words)
    return text.getvalue().rstrip("\n")


def hydra_help() -> str:
    """Return Hydra's help, and where strided differs."""
    arguments = Namespace(overrides=["hydra/hydra_logging=none"])
    with _as_text() as text, hydra_of_our_own() as own:
        own.hydra_help(config_name=None, args_parser=get_args_parser(), args=arguments)
    return (
        f"{text.getvalue().rstrip()}\n\nIn strided, log_dir= and name= take the place of "
        "hydra.run.dir and hydra.sweep.dir,\nresume= that of --experimental-rerun."
    )


@contextmanager
def _as_text() -> Iterator[io.StringIO]:
    """Catch what Hydra prints and logs; leave logging as it was."""
    root, text = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    try:
        with redirect_stdout(text):
            yield text
    finally:
        root.handlers[:] = before
        root.setLevel(level)
