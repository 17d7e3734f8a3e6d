"""Labels as people type them: several in a cell, several spellings, none."""

import unicodedata
from pathlib import Path

import pytest

from strided.data.reading.labels import spellings
from strided.data.reading.table_labels import check_one_label, is_missing, one_spelling
from strided.errors import UserError

FILE = Path("table.csv")


@pytest.mark.parametrize(
    "alike",
    [
        ("cat", "Cat", "CAT"),
        ("big cat", "Big  cat", "big\u00a0cat"),
        ("0", "0.0", "00", "+0", "-0.00"),
        ("1", "01", "1.0", "1."),
        ("-2.50", "-2.5"),
        ("Straße", "STRASSE"),
        ("É", "e\u0301"),
    ],
)
def test_spellings_of_one_label_are_found(alike: tuple[str, ...]) -> None:
    counts = dict.fromkeys((*alike, "other", "7"), 1)
    assert [set(group) for group in spellings(counts)] == [set(alike)]


def test_labels_that_differ_in_more_are_no_spellings() -> None:
    long = "1234567890123456789012345678901"
    labels = ["cat", "cats", "bigcat", "big cat", "1", "10", "-1", "1.5", "1.05", "", "v1", "v01"]
    assert not spellings(dict.fromkeys([*labels, long + "1", long + "2"], 1))


def test_labels_in_two_unicode_forms_are_one_class(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    labels = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD", "NFD")]
    assert one_spelling(labels, FILE, None) == ["café"] * 3
    assert "table.csv: labels in several Unicode forms" in caplog.text
    assert one_spelling(labels[1:], FILE, None) == ["café"] * 2  # as a folder's class is called


def test_spellings_are_refused_merged_or_kept(caplog: pytest.LogCaptureFixture) -> None:
    labels = ["Cat", "cat", "cat", "0", "0.0", "0.0", "dog"]
    with pytest.raises(
        UserError, match=r"0\.0 \(2\), 0 \(1\); cat \(2\), Cat \(1\); expected.*Try"
    ):
        one_spelling(labels, FILE, None)
    assert one_spelling(labels, FILE, "keep") == labels
    assert not caplog.text
    assert one_spelling(labels, FILE, "merge") == ["cat"] * 3 + ["0.0"] * 3 + ["dog"]
    assert "cat (2), Cat (1)" in caplog.text


@pytest.mark.parametrize(
    ("labels", "lines"),
    [
        (["Mass|Nodule", "Mass", "None"], ["line 2 has 2 labels, Mass|Nodule"]),
        (["a;b;c", "b;c", "d"], ["line 2 has 3 labels", "line 3 has 2 labels"]),
        (["['a', 'b']", "['a']"], ["line 2 has 2 labels"]),
        (["cat, dog", "dog", "cat"], ["line 2 has 2 labels"]),
    ],
)
def test_several_labels_in_a_cell_are_refused_with_their_count(
    labels: list[str], lines: list[str]
) -> None:
    with pytest.raises(UserError, match="expected one label") as error:
        check_one_label(labels, range(2, 9)[: len(labels)], FILE)
    assert all(line in str(error.value) for line in lines)
    assert f"unusable lines ({len(lines)})" in str(error.value)


@pytest.mark.parametrize(
    "labels",
    [
        ["tench, Tinca tinca", "goldfish, Carassius auratus"],
        ["a:b|c", "cat"],
        ["cat|", "dog|", "cat"],
        ["Smith; John", "Doe; Jane"],
        ["cat (small)", "cat (big)", "T-shirt/top"],
    ],
)
def test_marks_may_belong_to_a_name(labels: list[str]) -> None:
    check_one_label(labels, range(2, 2 + len(labels)), FILE)


def test_words_for_a_missing_value_are_no_labels() -> None:
    assert all(map(is_missing, ("", "nan", "NaN", "NA", "null", "NULL", "<NA>", "#N/A")))
    assert not any(map(is_missing, ("None", "none", "N/A", "na", "Nan bread", "0")))
