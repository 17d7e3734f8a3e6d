"""The words that sweep.yaml or search.yaml keeps, without addresses and folders: see typed_only."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strided.config.compose import compose_hydra, plain
from strided.config.overrides import key_of, normalise
from strided.config.typed_only import brings_back, found_in, left_out
from strided.sweeps.grammar import sweep_corners


@dataclass(frozen=True)
class KeptWords:
    """Words that a file keeps; `left` has the value of each key that was left out of them."""

    words: list[str]
    left: dict[str, Any]

    def with_typed(self, typed: Iterable[str], file: Path) -> list[str]:
        """Return the words with those typed now that `left` asks for; say what stays out."""
        back = [word for word in typed if brings_back(word, self.left)]
        keys = [key_of(word) for word in back]
        still = {
            key: value
            for key, value in self.left.items()
            if value is not None and not _is_below(key, keys)
        }
        if still:
            print(left_out(still, file), file=sys.stderr)
        return [*(word for word in self.words if key_of(word) not in keys), *back]

    def allow(self, keys: Iterable[str]) -> None:
        """Let these keys be typed too, whether or not anything was left out."""
        for key in keys:
            self.left.setdefault(key, None)

    def without_left(self, words: Iterable[str]) -> list[str]:
        """Return the words of a job without those that may have been left out."""
        return [word for word in words if not brings_back(word, self.left)]


def kept_words(verb: str, words: Sequence[str], config_dir: Path | None) -> KeptWords:
    """Leave out of the words of a file what counts only as typed. Raises UserError."""
    found: dict[str, Any] = {}
    overrides = normalise(verb, words, config_dir, multirun=True)
    for corner in sweep_corners(verb, overrides, config_dir):
        found |= found_in(plain(compose_hydra(verb, corner, config_dir)[0]))
    found.pop("log_dir", None)  # the jobs have their folder, and use another one only if typed
    named = [word for word in words if brings_back(word, found)]
    left = {key: value for key, value in found.items() if _is_below(key, map(key_of, named))}
    return KeptWords([word for word in words if word not in named], left)


def _is_below(key: str, others: Iterable[str]) -> bool:
    return any(f"{key}.".startswith(f"{other}.") for other in others)
