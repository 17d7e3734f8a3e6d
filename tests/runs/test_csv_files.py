"""CSV files: no cell is a formula, and every text comes back as it was."""

from pathlib import Path

import pytest

from strided.runs.csv_files import read_csv, read_rows, write_csv
from strided.runs.predictions_csv import Predictions, Row, write_predictions

FORMULAS = ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK(\"http://x\")", "-", "=",
            "-1+2"]  # fmt: skip
OTHERS = ["'", "'a", "''a", "'=1", "''=1", "'-1", "a=1", " =1", "", "a,b\n", '"', "é", "-1",
          "+1e-3", "-inf", "-.5", "a\x1b[31m"]  # fmt: skip


def test_every_text_comes_back(tmp_path: Path) -> None:
    texts = [*FORMULAS, *OTHERS, *(f"'{text}" for text in FORMULAS)]
    write_csv(tmp_path / "t.csv", texts, [texts, dict(zip(texts, texts, strict=True))])
    assert read_csv(tmp_path / "t.csv") == (texts, [texts, texts])


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_would_be_a_formula_begins_with_an_apostrophe(text: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a"], [[text]])
    cell = (tmp_path / "t.csv").read_bytes().split(b"\n", 1)[1]
    assert cell.lstrip(b'"').startswith(b"'" + text[:1].encode())


def test_numbers_are_never_changed(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a", "b", "c"], [[-0.5, -1, "-1.5e-07"], [None, "-inf", "+2"]])
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n-0.5,-1,-1.5e-07\n,-inf,+2\n"


def test_a_short_row_lacks_nothing_and_an_empty_file_has_no_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1\n\n")
    assert read_rows(tmp_path / "t.csv") == [{"a": "1", "b": ""}]
    (tmp_path / "t.csv").write_text("")
    assert read_rows(tmp_path / "t.csv") == []


def test_names_of_files_and_classes_of_predictions_come_back(tmp_path: Path) -> None:
    classes, file = ["=cmd|' /C calc'!A0", "@b"], tmp_path / "predictions.csv"
    rows = [Row("=1.png", classes[0], probabilities=[0.75, 0.25]),
            Row("'=1.png", classes[1], probabilities=[0.25, 0.75]),
            Row("a\x1b[2J.png", classes[1], error="-x")]  # fmt: skip
    write_predictions(file, rows, classes)
    found = Predictions.read(file)
    assert found.paths == ["'=1.png", "=1.png"] and found.classes == classes
    assert found.predicted.tolist() == classes[::-1] == found.labels.tolist()
    assert not any(cell.startswith(("=", "@", "-")) for cell in file.read_text().split(","))
    assert "a\x1b[2J.png" in file.read_text()  # the exact name
