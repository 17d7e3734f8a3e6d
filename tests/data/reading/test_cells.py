"""Tables as Excel, pandas and R write them."""

from pathlib import Path

import pytest

from strided.data.reading.cells import read_cells
from strided.errors import UserError


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "table.csv"
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(["path\tlabel", "ä, b;.png\tcafé", "", "c.png\t表示"])
    cells = read_cells(written(tmp_path, text, encoding), "path")
    assert cells.header == ["path", "label"]
    assert cells.lines == [(2, ["ä, b;.png", "café"]), (4, ["c.png", "表示"])]


def test_another_encoding_is_named_with_a_way_out(tmp_path: Path) -> None:
    file = written(tmp_path, "path,label\na.png,cat\nb.png,café\n", "cp1252")
    with pytest.raises(UserError, match=r"line 3 is not in utf-8.*b\.png,café.*iconv -f cp1252"):
        read_cells(file, "path")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\3\4 ", "an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1", "an old Excel workbook"),
        (b"PAR1 ", "a Parquet file"),
        (b"\x1f\x8b\x08", "packed by gzip"),
        (b"<!doctype html>", "a web page"),
        (b'{"path": "a.png"}\n', "a JSON file"),
        (b'[\n {"path": 1}]', "a JSON file"),
        (b"<?xml version", "an XML file"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "table.csv").write_bytes(start)
    with pytest.raises(UserError, match=rf"cannot be read \(it is {kind}.*expected.*Try data\.csv"):
        read_cells(tmp_path / "table.csv", "path")


@pytest.mark.parametrize(
    ("text", "header"),
    [
        (",path,label\n0,a,cat\n1,b,dog\n", ["", "path", "label"]),  # pandas
        ("Unnamed: 0,path,label\n0,a,cat\n1,b,dog\n", ["Unnamed: 0", "path", "label"]),
        ('"path","label"\n"1","a","cat"\n"2","b","dog"\n', ["", "path", "label"]),  # R
        ("path,label\na,cat,\nb,dog,\n", ["path", "label"]),  # a delimiter at the end
        ("path,label,,\na,cat,,\nb,dog,,\n", ["path", "label"]),  # Excel's empty columns
        ("path,label\na,cat,,\nb,dog\n", ["path", "label"]),
        ("sep=;\npath;label\na;cat\nb;dog\n", ["path", "label"]),
        ("path|label\na|cat\nb|dog\n", ["path", "label"]),
        ('"sep=;"\r\n\r\npath;label\r\na;cat\r\nb;dog\r\n', ["path", "label"]),
    ],
)
def test_index_columns_and_empty_ones_do_no_harm(
    tmp_path: Path, text: str, header: list[str]
) -> None:
    cells = read_cells(written(tmp_path, text), "path")
    assert cells.header == header
    at = header.index("path")
    assert [row[at : at + 2] for _, row in cells.lines] == [["a", "cat"], ["b", "dog"]]


@pytest.mark.parametrize("above", ["# exported", "Ward 3;2023;;", "\n\nWard, 3"])
def test_lines_above_the_header_are_named(tmp_path: Path, above: str) -> None:
    file = written(tmp_path, f"{above}\nPath;label;x;y\na;cat;1;2\n")
    line = above.count("\n") + 2
    with pytest.raises(UserError, match=rf"header in line {line}, below .*expected.*Try removing"):
        read_cells(file, "path")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        (
            'path,label\n"a,cat\nb,dog\nc,dog",dog,x\nd,cat\n',
            r"line 2 has 3 cells.* closed 2 lines below, or never",
        ),
        ('path,label\n"a,cat\nb,dog\n', "line 2: .*is a quote left open"),
        # no cell is missing
        ('path,label\na,dog\nb,"cat\nc,dog\n', "line 3: .*is a quote left open"),
        ('path,label\na,"cat\nb,dog\nc,"dog"\n', "line 2: .*is a quote left open"),
        ('path,label\n"a,cat\n' + "b,dog\n" * 30_000, "is a quote left open"),
    ],
)
def test_a_quote_left_open_and_an_empty_table_are_named(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(UserError, match=rf"(?s){problem}.*Try"):
        read_cells(written(tmp_path, text), "path")


def test_a_repeated_first_cell_is_no_name_of_a_row(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2 has 3 cells, the header 2"):
        read_cells(written(tmp_path, "path,label\na,b,cat\na,c,dog\n"), "path")


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = 'sep=,\n\npath,note\n"a\nb",x\n\n"c",y\n'
    assert read_cells(written(tmp_path, text), "path").lines == [
        (4, ["a\nb", "x"]),
        (7, ["c", "y"]),
    ]
