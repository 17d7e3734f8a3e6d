"""The study of a search: its plan in search.yaml, its trials in Optuna's journal."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from strided.config.keys import Node
from strided.config.overrides import read_words
from strided.config.schema import arguments_of, check
from strided.config.targets import build, locate
from strided.errors import UserError, describe_error, first_line
from strided.runs.results import Results, by_name
from strided.sweeps.folder import SweepFolder
from strided.sweeps.search.space import Search, distribution, require_axes
from strided.system.durable import write_text
from strided.system.machine import alone_in
from strided.system.plain_data import read_yaml

try:
    import optuna
except ModuleNotFoundError as missing:
    raise UserError(
        "search=optuna needs optuna, which is not installed; expected the extra `sweep`. "
        "Try pip install 'strided[sweep]'"
    ) from missing

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

NAME = "search"
JOURNAL = "study.journal"


@dataclass(frozen=True)
class SearchPlan:
    """Everything a worker needs: the words of all trials, the run's seed, and the search."""

    words: list[str]
    seed: int
    search: Search

    def write(self, folder: Path) -> None:
        """Write search.yaml."""
        node = {"_target_": "strided.sweeps.search.space.Search", **asdict(self.search)}
        text = yaml.safe_dump({**asdict(self), "search": node}, sort_keys=False, allow_unicode=True)
        write_text(SweepFolder(folder).search, text)

    @classmethod
    def read(cls, folder: Path, **changed: Any) -> "SearchPlan":
        """Read search.yaml with some keys of the search changed. Raises UserError."""
        file = SweepFolder(folder).search
        try:
            plan = read_yaml(file)
            words, seed, search = plan["words"], int(plan["seed"]), {**plan["search"], **changed}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file} is damaged: {first_line(error)}; expected it as the search wrote it. "
                "Try a new search"
            ) from error
        found = read_search(search)
        require_axes(found.space)
        return cls(read_words(words, file), seed, found)

    def try_out(self) -> None:
        """Raise UserError for a sampler, a pruner or a range that Optuna refuses."""
        build_sampler(self, 0)
        if self.search.pruner is not None:
            build(self.search.pruner, "search.pruner")
        for key, text in self.search.space.items():
            distribution(key, text)


def read_search(node: Node) -> Search:
    """Return the search that a config node describes. Raises UserError."""
    check({"search": node})
    return Search(**{key: value for key, value in node.items() if key != "_target_"})


class Study:
    """Optuna's study in a search's folder, which several processes may work on.

    The journal is a file that is only appended to, by one process at a time: SQLite, Optuna's
    usual storage, loses its locks on network drives and lets writers wait for each other.
    """

    def __init__(self, folder: Path, plan: SearchPlan) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.plan = folder, plan
        self.space = {key: distribution(key, text) for key, text in plan.search.space.items()}
        try:
            self.storage = open_storage(folder / JOURNAL)
            self.study = optuna.create_study(
                study_name=NAME,
                storage=self.storage,
                direction=plan.search.direction,
                load_if_exists=True,
            )
            self.trials()
        except Exception as error:  # of any kind: Optuna takes the journal for its own
            raise UserError(
                f"{folder / JOURNAL} is damaged: {describe_error(error)[:200]}; expected it as "
                "the search wrote it. Try another copy of the folder, or a new search"
            ) from error
        self.study.stop = self._exhaust  # type: ignore[method-assign]
        self._require_same_space()

    def _require_same_space(self) -> None:
        """Raise UserError if the trials so far were drawn from another space."""
        for trial in self.trials():
            for key, values in trial.distributions.items():
                if self.space.get(key) != values:
                    raise UserError(
                        f"{SweepFolder(self.folder).search} has another space than its trials: "
                        f"{key} was {values}; expected the space that the search began with. Try "
                        "restoring it, or a new search"
                    )

    def _exhaust(self) -> None:
        """Record that no values are left: Optuna's stop() works only in Optuna's loop."""
        self.study.set_user_attr("exhausted", True)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Return all trials, by number."""
        return self.study.get_trials(deepcopy=False)

    def unfinished(self) -> list[int]:
        """Return the numbers of the trials that have started and not ended."""
        return [trial.number for trial in self.trials() if trial.state == TrialState.RUNNING]

    def num_left(self) -> int:
        """Return the number of trials that have not ended, or not started."""
        return len(self.unfinished()) + self._num_missing()

    def _num_missing(self) -> int:
        if self.study.user_attrs.get("exhausted"):
            return 0
        return max(0, self.plan.search.num_trials - len(self.trials()))

    def next_trial(self) -> int | None:
        """Start a trial and return its number; None if there are enough, or no values left."""
        with alone_in(self.folder / "next_trial.lock", wait=True):
            return self.study.ask().number if self._num_missing() else None

    def parameters(self, number: int) -> dict[str, Any]:
        """Return the values of a trial: the stored ones if it was stopped, else new ones."""
        self.study.sampler = build_sampler(self.plan, number)
        trial = Trial(self.study, trial_id(self.storage, number))
        return {key: _suggest(trial, key, values) for key, values in self.space.items()}

    def tell(self, number: int, results: Results) -> str:
        """Record how a trial ended, from its results.json; return its state as a word."""
        value = by_name(results).get(self.plan.search.metric)
        if self.trials()[number].user_attrs.get("pruned"):
            return self._tell(number, TrialState.PRUNED)
        if results["state"] == "finished" and value is not None:
            return self._tell(number, TrialState.COMPLETE, value)
        error = results.get("error", f"{self.plan.search.metric} was never measured")
        self.storage.set_trial_user_attr(trial_id(self.storage, number), "error", error)
        return self._tell(number, TrialState.FAIL)

    def _tell(self, number: int, state: TrialState, value: float | None = None) -> str:
        self.study.tell(number, value, state=state)
        return state.name.lower()


def open_storage(journal: Path) -> JournalStorage:
    """Open the journal of a study."""
    return JournalStorage(JournalFileBackend(str(journal)))


def trial_id(storage: JournalStorage, number: int) -> int:
    """Return the storage's id of a trial."""
    study = storage.get_study_id_from_name(NAME)
    return storage.get_trial_id_from_study_id_trial_number(study, number)


def build_sampler(plan: SearchPlan, number: int) -> optuna.samplers.BaseSampler:
    """Build the sampler for one trial, seeded by the trial's number.

    A single sampler for all trials would restart with the first trials' values after a resume.
    """
    import numpy as np

    node = dict(plan.search.sampler)
    if "seed" in arguments_of(locate(node["_target_"], "search.sampler"))[0]:
        base = plan.seed if node.get("seed") is None else node["seed"]
        node["seed"] = int(np.random.SeedSequence([base, number]).generate_state(1)[0])
    sampler: optuna.samplers.BaseSampler = build(node, "search.sampler")
    return sampler


def _suggest(trial: Trial, key: str, values: BaseDistribution) -> Any:
    if isinstance(values, IntDistribution):
        return trial.suggest_int(key, values.low, values.high, step=values.step, log=values.log)
    if isinstance(values, FloatDistribution):
        return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)
    assert isinstance(values, optuna.distributions.CategoricalDistribution)
    return trial.suggest_categorical(key, values.choices)
