import pytest
from optuna.distributions import CategoricalDistribution as Categorical
from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int

from strided.config.compose import compose
from strided.config.overrides import as_typed, normalise
from strided.errors import UserError
from strided.sweeps.grammar import sweep_corners, sweep_jobs
from strided.sweeps.search.search import split
from strided.sweeps.search.space import distribution


def test_corners_of_a_sweep_are_the_combinations_of_its_options() -> None:
    corners = sweep_corners("train", ["model=mlp,lenet5", "data=digits,synthetic", "seed=1"])
    assert corners == [
        [f"model={model}", f"data={data}", "seed=1"]
        for model in ("mlp", "lenet5")
        for data in ("digits", "synthetic")
    ]


def test_swept_values_are_taken_at_their_first() -> None:
    corners = sweep_corners("train", ["model=mlp,lenet5", "++optimizer.lr=0.1,0.2", "seed=0,1,2"])
    assert corners == [["model=mlp", "++optimizer.lr=0.1", "seed=0"],
                       ["model=lenet5", "++optimizer.lr=0.1", "seed=0"]]  # fmt: skip


def test_choice_and_range_are_sweeps_too() -> None:
    assert sweep_corners("train", ["model=choice(mlp,lenet5)"]) == [["model=mlp"], ["model=lenet5"]]
    assert len(sweep_corners("train", ["++optimizer.lr=range(1,9)"])) == 1


def test_a_list_is_no_sweep() -> None:
    assert sweep_corners("train", ["++model.hidden=[8,4]"]) == [["++model.hidden=[8,4]"]]


def test_jobs_are_numbered_as_hydra_does() -> None:
    words = ["model=mlp,lenet5", "optimizer.lr=1e-3", "seed=range(0,2)", "hydra/launcher=basic"]
    assert sweep_jobs(normalise("train", words, multirun=True)) == [
        ["model=mlp", "optimizer.lr=0.001", "seed=0"],
        ["model=mlp", "optimizer.lr=0.001", "seed=1"],
        ["model=lenet5", "optimizer.lr=0.001", "seed=0"],
        ["model=lenet5", "optimizer.lr=0.001", "seed=1"],
    ]


def test_of_a_key_that_is_typed_twice_the_last_values_count() -> None:
    assert sweep_jobs(["seed=0,1", "seed=2"]) == [["seed=2"]]


def test_a_glob_stands_for_the_options_that_match() -> None:
    assert sweep_jobs(["optimizer=glob(adam*)"]) == [["optimizer=adam"], ["optimizer=adamw"]]
    with pytest.raises(UserError, match="matches no option"):
        sweep_jobs(["optimizer=glob(x*)"])


def test_an_interval_is_for_a_search() -> None:
    with pytest.raises(UserError, match=r"optimizer.lr=interval.*Try search=optuna"):
        sweep_jobs(["++optimizer.lr=interval(0,1)"])


@pytest.mark.parametrize("values", ["shuffle(range(0,6))", "shuffle(1,2)"])
def test_values_in_no_fixed_order_are_refused(values: str) -> None:
    with pytest.raises(UserError, match=r"seed=shuffle\(.*Try it without"):
        sweep_jobs([f"++seed={values}"])
    with pytest.raises(UserError, match="Try it without"):
        sweep_corners("train", [f"++seed={values}"])


def test_the_grammar_of_sweeps_describes_a_space() -> None:
    assert distribution("a", "tag(log,interval(1e-4,1e-1))") == Float(1e-4, 1e-1, log=True)
    assert distribution("a", "interval(1,8)") == Float(1, 8)
    assert distribution("a", "int(interval(1,8))") == Int(1, 8)
    assert distribution("a", "range(1,8,2)") == Int(1, 7, step=2)  # as a sweep: without its end
    assert distribution("a", "range(8,1,-2)") == Int(2, 8, step=2)
    assert distribution("a", "tag(log,range(16,257))") == Int(16, 256, log=True)
    assert distribution("a", "range(0.5,2.0,0.5)") == Float(0.5, 1.5, step=0.5)
    assert distribution("a", "tanh,relu") == Categorical(["tanh", "relu"])
    assert distribution("a", "choice(1,2)") == Categorical(["1", "2"])


def test_of_several_texts_a_trial_has_one_as_it_was_typed() -> None:
    _, swept = split(["name=a b,'c, d'"], None)
    found = distribution("name", swept["name"])
    assert isinstance(found, Categorical)
    words = [as_typed(f"name={text}") for text in found.choices]
    assert [compose("train", [word])["name"] for word in words] == ["a b", "c, d"]


@pytest.mark.parametrize("text", ["1", "[1,2]", "interval(1", "range(2,1)"])
def test_what_is_no_space_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="Try a="):
        distribution("a", text)
