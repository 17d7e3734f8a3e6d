import numpy as np
import pytest

from strided.evaluation.bands import banded


def parts(column: str, values: list[str]) -> dict[str, int]:
    found = list(banded(column, np.array(values)))
    assert (np.sum([chosen for _, chosen in found], axis=0) == 1).all()  # each image is in one
    return {name: int(chosen.sum()) for name, chosen in found}


@pytest.mark.parametrize("column", ["age", "Age (years)", "patient_age", "PatientAge"])
def test_ages_are_put_into_bands_of_twenty_years(column: str) -> None:
    ages = [str(age) for age in (3, 19, 20, 39.5, 41, 42, 43, 44, 45, 60, 79, 80, 101)]
    assert parts(column, [*ages, "", ""]) == {
        "0 to 19": 2,
        "20 to 39": 2,
        "40 to 59": 5,
        "60 to 79": 2,
        "80 and more": 2,
        "not given": 2,
    }


@pytest.mark.parametrize("column", ["weight", "stage", "average"])
def test_other_numbers_are_put_into_quarters(column: str) -> None:
    assert parts(column, [str(k) for k in range(40)]) == {
        "0 to below 9.75": 10,
        "9.75 to below 19.5": 10,
        "19.5 to below 29.25": 10,
        "29.25 to 39": 10,
    }


def test_few_numbers_and_names_stay_as_they_are() -> None:
    assert parts("age", ["10", "9", "9"]) == {"9": 2, "10": 1}
    assert parts("sex", ["f", "m", "f", ""]) == {"f": 2, "m": 1, "not given": 1}


def test_the_rarest_of_many_names_are_put_together() -> None:
    names = [f"site {k}" for k in range(30)] + [f"site {k}" for k in range(20)]
    assert parts("site", names)["10 others"] == 10
