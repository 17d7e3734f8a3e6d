"""Columns of a table and names of files as features."""

import numpy as np

from strided.shortcuts.columns import in_bins, is_id_like, of_column, of_names, of_words


def test_a_column_with_other_values_for_most_images_or_groups_is_like_an_id() -> None:
    assert is_id_like([str(n) for n in range(100)], 100)
    assert not is_id_like([str(n % 40) for n in range(100)], 100)
    assert is_id_like([str(n // 2) for n in range(100)], 50)
    assert not is_id_like(list("abc"), 3)  # few values are none


def test_numbers_lie_in_bins_and_missing_ones_in_one_of_their_own() -> None:
    values = ["", *map(str, range(40))]
    features = of_column(values)
    assert features.shape == (41, 21) and np.array_equal(features.sum(1), np.ones(41))
    assert features[0].argmax() == 0 and features[:, 0].sum() == 1
    assert in_bins(np.full(3, np.nan)).shape == (3, 1)


def test_words_are_told_apart_and_rare_ones_are_not() -> None:
    words = ["PA"] * 5 + ["AP"] * 3 + [f"rare {n}" for n in range(30)]
    features = of_words(words)
    assert features.shape == (38, 20)
    assert features[0].tolist() == features[4].tolist() != features[5].tolist()
    assert not features[-1].any()


def test_names_are_read_by_their_first_word_and_their_last_number() -> None:
    features = of_names(["nih-00000013_001", "nih-00000013_001", "covid-00000013_001", "nih-7_9"])
    assert features[0].tolist() == features[1].tolist()
    assert (
        features[0].tolist() != features[2].tolist()
        and features[0].tolist() != features[3].tolist()
    )
