import logging
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from strided.cli import main
from strided.config.unused import insisting_on
from strided.data import ImageTable, Preprocessing
from strided.errors import UserError
from strided.runs.predictions_csv import Predictions

pytestmark = pytest.mark.usefixtures("blank_figures")

ROWS = ["cats/1.png,cat", "cats/2.png,cat", "dogs/1.png,dog", "dogs/2.png,dog"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """cats/1.png to dogs/4.png, each of its own grey."""
    for value, name in enumerate(f"{kind}/{k}.png" for kind in ("cats", "dogs") for k in range(5)):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 6), value).save(file)
    return tmp_path / "photos"


def table(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    file = folder / "table.csv"
    file.write_text("\n".join(lines) + "\n", encoding=encoding)
    return file


def opened(file: Path, **options: Any) -> ImageTable:
    return ImageTable(csv=str(file), cache_dir=str(file.parent / "cache"), **options)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables_of_every_make_are_read(photos: Path, delimiter: str, encoding: str) -> None:
    lines = [line.replace(",", delimiter) for line in ("path,label,note", *(f"{r}," for r in ROWS))]
    data = opened(table(photos, *lines, "", encoding=encoding))
    assert data.name == "table" and data.classes == ["cat", "dog"]
    assert data.source.paths == [row.split(",")[0] for row in ROWS]
    assert data.source.labels.tolist() == [0, 0, 1, 1] and set(data.source.split) == {""}
    assert [data.source.read(index).getpixel((0, 0)) for index in range(4)] == [1, 2, 6, 7]
    assert data.source.group is None


def test_cells_in_quotes_may_hold_delimiters_and_columns_any_order(photos: Path) -> None:
    (photos / "cats" / "1.png").rename(photos / "cats" / "a, b;c.png")
    rows = ['cat,"x;y;z;","./cats/a, b;c.png"', "dog,,dogs/1.png"]
    file = table(photos, "label,other,path", *rows)
    assert opened(file).source.paths == ["cats/a, b;c.png", "dogs/1.png"]


def test_labels_are_text(photos: Path) -> None:
    file = table(photos, "path,label", "cats/1.png,01", "cats/2.png,1", "dogs/1.png,1.0")
    assert opened(file, labels="keep").classes == ["01", "1", "1.0"]


def test_the_fingerprint_follows_the_labels(photos: Path) -> None:
    fingerprints = []
    for labels in ("aabb", "abab", "aabb"):
        rows = (f"{row.split(',')[0]},{label}" for row, label in zip(ROWS, labels, strict=True))
        data = opened(table(photos, "path,label", *rows))
        data.use(Preprocessing(1, 6))
        fingerprints.append(data.fingerprint)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_columns_can_have_other_names(photos: Path) -> None:
    rows = (f"{row},p{index}" for index, row in enumerate(ROWS))
    file = table(photos, "file,class,patient id", *rows)
    names = {"path_column": "file", "label_column": "class", "group_column": "patient id"}
    source = opened(file, **names).source
    assert source.group is not None and source.group.tolist() == ["p0", "p1", "p2", "p3"]


@pytest.mark.parametrize("enclosing", ["", "all/"])
def test_paths_are_relative_to_a_folder_or_within_a_zip(photos: Path, enclosing: str) -> None:
    file = table(photos.parent, "path,label", *ROWS)
    archive = photos.parent / "packed.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for image in sorted(photos.rglob("*.png")):
            target.write(image, f"{enclosing}{image.relative_to(photos)}")
        target.writestr("__MACOSX/._x", b"")
    for root in (photos, archive):
        source = opened(file, root=str(root)).source
        assert source.read(3).getpixel((0, 0)) == 7 and source.paths[3] == "dogs/2.png"


def test_absolute_paths_are_taken_for_folders_but_not_for_zips(photos: Path) -> None:
    file = table(photos, "path,label", f"{photos}/cats/1.png,cat", "dogs/1.png,dog")
    assert opened(file).source.read(0).getpixel((0, 0)) == 1
    with zipfile.ZipFile(photos / "packed.zip", "w") as target:
        target.write(photos / "dogs" / "1.png", "dogs/1.png")
    with pytest.raises(UserError, match=r"line 2: /.*cats/1\.png"):
        opened(file, root=str(photos / "packed.zip")).source  # noqa: B018


def test_the_splits_of_the_table_are_used(photos: Path) -> None:
    words = ("train", "Train", "valid", "test")
    rows = [
        f"{kind}/{k}.png,{kind},{word}" for kind in ("cats", "dogs") for k, word in enumerate(words)
    ]
    data = opened(table(photos, "path,label,split", *rows))
    data.use(Preprocessing(1, 6))
    data.setup()
    assert data.paths("train") == [f"{kind}/{k}.png" for kind in ("cats", "dogs") for k in (0, 1)]
    assert data.paths("val") == ["cats/2.png", "dogs/2.png"]
    assert data.paths("test") == ["cats/3.png", "dogs/3.png"]
    assert set(opened(photos / "table.csv", split_column=None).source.split) == {""}


def test_groups_stay_together_and_decide_the_split_hash(photos: Path) -> None:
    rows = [f"{kind}/{k}.png,{kind}" for kind in ("cats", "dogs") for k in range(5)]
    groups = [0, 0, 1, 1, 2, 0, 1, 2, 2, 2]
    file = table(
        photos, "path,label,group", *(f"{r},{g}" for r, g in zip(rows, groups, strict=True))
    )
    hashes = set()
    for group_column in ("group", None):
        data = opened(file, group_column=group_column)
        data.use(Preprocessing(1, 6))
        data.setup()
        hashes.add(data.split_hash)
        split_of = {i: name for name, indices in data.splits.items() for i in indices.tolist()}
        pairs = {(groups[index], name) for index, name in split_of.items()}
        assert (len(pairs) == 3) == (group_column is not None)
    assert len(hashes) == 2


def test_the_number_of_groups_is_told(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [f"{kind}s/{k}.png,{kind},g{k}" for kind in ("cat", "dog") for k in range(4)]
    with caplog.at_level(logging.INFO):
        opened(table(photos, "path,label,group", *rows)).source  # noqa: B018
    assert "8 images of 4 groups" in caplog.text


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["path,label"], "has no images; expected.*Try a line for each"),
        ([], r"cannot be read \(it is empty\)"),
        (
            ["file,label", *ROWS],
            r"columns file, label; expected one called path\. Try",
        ),
        (["path,class", *ROWS], r"expected one called label\. Try data\.label_column="),
        (["path,label", *ROWS[:2]], "has only one label, cat; expected"),
        (["path,label", *ROWS, "cats/3.png,"], r"lines \(1\).*line 6 has no label"),
        (["path,label", *ROWS, ",cat"], r"lines \(1\).*line 6 has no path"),
        (["path,label", *ROWS, "./cats/1.png,cat"], r"line 6 repeats cats/1\.png of line 2"),
        (["path,label", *ROWS, "a,b,c"], r"line 6 has 3 cells, the header 2"),
        (["path,label", *ROWS, "cats/9.png,cat"], r"line 6: cats/9\.png\nTry data\.root="),
        (["path,label,split", *(f"{r},train" for r in ROWS), "cats/3.png,cat,hold"], "split hold"),
        (["path,label,split", f"{ROWS[0]},train", f"{ROWS[2]},"], r"line 3 has no split \(split\)"),
        (["path,label,split", *(f"{r},test" for r in ROWS)], "no line with the split train"),
        (["path,label,group", f"{ROWS[0]},x", f"{ROWS[2]},"], r"line 3 has no group \(group\)"),
    ],
)
def test_tables_that_cannot_be_used_say_which_lines(
    photos: Path, lines: list[str], problem: str
) -> None:
    file = table(photos, *lines)
    with pytest.raises(
        UserError, match=rf"(?s)data\.csv={re.escape(str(file))}.*{problem}"
    ) as error:
        opened(file).source  # noqa: B018
    assert "expected" in str(error.value) and "Try" in str(error.value)


def test_many_problems_are_counted_and_few_shown(photos: Path) -> None:
    file = table(photos, "path,label", *ROWS, *(f"gone/{k}.png,cat" for k in range(20)))
    with pytest.raises(UserError, match=r"unusable lines \(20\)") as error:
        opened(file).source  # noqa: B018
    assert "line 6: gone/0.png" in str(error.value) and "and 15 more" in str(error.value)
    assert len(str(error.value).splitlines()) < 15


@pytest.mark.parametrize("columns", [{"split_column": "fold"}, {"group_column": "patient"}])
def test_a_column_that_was_asked_for_must_be_there(photos: Path, columns: dict[str, str]) -> None:
    ((key, name),) = columns.items()
    with pytest.raises(UserError, match=rf"expected one called {name}\. Try data\.{key}="):
        opened(table(photos, "path,label", *ROWS), **columns).source  # noqa: B018


def test_a_table_that_is_missing_or_no_text_says_so(photos: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(No such file.*expected.*Try data\.csv="):
        opened(photos / "gone.csv").source  # noqa: B018
    (photos / "table.csv").write_bytes("path,label\ncats/ä.png,cat\n".encode("latin-1"))
    with pytest.raises(UserError, match="cannot be read .*utf-8.*expected.*UTF-8"):
        opened(photos / "table.csv").source  # noqa: B018


def test_an_image_that_cannot_be_read_is_listed_by_its_path(photos: Path) -> None:
    (photos / "cats" / "2.png").write_bytes(b"torn")
    rows = [f"{kind}/{k}.png,{kind}" for kind in ("cats", "dogs") for k in range(5)]
    data = opened(table(photos, "path,label", *rows), on_error="skip")
    data.use(Preprocessing(1, 6))
    data.setup()
    assert data.unreadable("") == [("cats/2.png", 0, "empty, or not an image of a known format")]


def test_a_run_on_a_table_is_evaluated_on_its_own_split_only(
    photos: Path, run_train: Callable[..., Path], log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{kind}/{k}.png,{kind},{k % 4}" for kind in ("cats", "dogs") for k in range(5)]
    file = table(photos, "path,the label,who (id)", *rows)
    columns = ("data.label_column=the label", "data.group_column=who (id)")
    run = run_train("model=mlp", "data=csv", f"data.csv={file}", *columns, "data.image_size=6")
    with (run / "predictions.csv").open() as stream:
        header, *predictions = stream.read().splitlines()
    assert header == "path,label,predicted,error,prob/cats,prob/dogs,prediction_set,entropy,group"
    assert all(line.rsplit(",", 1)[1] in "0123" for line in predictions)  # numbers, not names
    assert all(line.split("/")[0] == line.split(",")[1] for line in predictions)
    words = ["eval", f"checkpoint={run}", f"log_dir={log_dir}"]
    assert main(words) == 0
    assert main([*words, "data.group_column=null"]) == 1
    assert (
        "data.group_column=null would split the training data in another way"
        in capsys.readouterr().err
    )


def test_subgroups_are_kept_beside_each_prediction(
    photos: Path, run_train: Callable[..., Path]
) -> None:
    rows = [f"{kind}/{k}.png,{kind},f,{40 + k}" for kind in ("cats", "dogs") for k in range(5)]
    rows[3] = "cats/3.png,cats,m,nan"
    file = table(photos, "path,label,sex,age", *rows)
    assert opened(file, subgroup_columns=["age"]).source.subgroups["age"][:4] == [
        "40",
        "41",
        "42",
        "",
    ]
    words = ("data=csv", f"data.csv={file}", "data.subgroup_columns=[sex,age]", "data.image_size=6")
    run = run_train("model=mlp", *words, "data.num_folds=2", "data.fold=0")
    known = Predictions.read(run / "predictions.csv")
    assert known.groups is None and set(known.subgroups) == {"sex", "age"}
    ages = {row.split(",")[0]: row.split(",")[3].replace("nan", "") for row in rows}
    assert known.subgroups["age"].tolist() == [ages[path] for path in known.paths]
    with pytest.raises(UserError, match=r"one called weight\. Try data\.subgroup_columns="):
        opened(file, subgroup_columns=["weight"]).source  # noqa: B018


ENDLESS = [row.replace(".png", "") for row in ROWS]
ONE_HOT = [
    "path,cat,dog",
    "cats/1.png,1,0",
    "cats/2.png,1.0,0.0",
    "dogs/1.png,,1",
    "dogs/2.png,0,1",
]


def test_a_suffix_completes_paths_and_is_suggested(photos: Path) -> None:
    file = table(photos, "path,label", *ENDLESS)
    with pytest.raises(UserError, match=r"cats/1 \(there is cats/1\.png\)(?s:.*)") as error:
        opened(file).source  # noqa: B018
    assert str(error.value).endswith("\nTry data.path_suffix=.png")
    assert opened(file, path_suffix=".png").source.paths[3] == "dogs/2.png"
    mixed = table(photos, "path,label", ENDLESS[0], *ROWS[1:])
    assert opened(mixed, path_suffix=".PNG").source.paths == [row.split(",")[0] for row in ROWS]


@pytest.mark.parametrize("packed", [False, True])
def test_advice_to_read_elsewhere_works(photos: Path, packed: bool) -> None:
    lines = ["1,cat", "2,cat", "3,dog", "4,dog"]
    file = table(photos.parent, "path,label", *lines)
    root = photos.parent
    if packed:
        root = photos.parent / "two.zip"
        with zipfile.ZipFile(root, "w") as archive:
            archive.writestr("notes.txt", b"")
            for k in range(5):
                archive.write(photos / "cats" / f"{k}.png", f"cats/{k}.png")
    with pytest.raises(UserError) as error:
        opened(file, root=str(root)).source  # noqa: B018
    advice = str(error.value).splitlines()[-1]
    if packed:
        assert advice == "Try unzipping two.zip, and data.root=<the folder cats in it>"
        return
    assert advice == f"Try data.root={photos}/cats data.path_suffix=.png"
    assert opened(file, root=f"{photos}/cats", path_suffix=".png").source.paths[0] == "1.png"


def test_a_file_in_two_spellings_is_repeated(photos: Path) -> None:
    file = table(photos, "path,label", *ROWS, r"Cats\1.PNG,cat")
    with pytest.raises(UserError, match=r"line 6 repeats Cats\\1\.PNG of line 2\nTry removing"):
        opened(file).source  # noqa: B018


def test_one_column_for_each_label(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = table(photos, *ONE_HOT)
    with pytest.raises(UserError, match=r"Try data\.label_columns=\[cat,dog\]"):
        opened(file).source  # noqa: B018
    data = opened(file, label_columns=["cat", "dog"])
    assert data.classes == ["cat", "dog"] and data.source.labels.tolist() == [0, 0, 1, 1]
    wide = table(photos, f"{ONE_HOT[0]},fox", *(f"{line},0" for line in ONE_HOT[1:]))
    assert opened(wide, label_columns=["dog", "cat", "fox"]).classes == ["cat", "dog"]
    assert "no line has 1 in fox" in caplog.text
    with insisting_on(["data.label_column=kind"]), pytest.raises(UserError, match="do nothing"):
        opened(wide, label_columns=["cat", "dog"], label_column="kind")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("cats/3.png,1,1", "line 6 has 2 labels: cat, dog"),
        ("cats/3.png,0,0", "line 6 has 0 labels"),
        ("cats/3.png,0.7,0.3", r"line 6 has '0\.7' in cat"),
        ("cats/3.png,yes,0", "line 6 has 'yes' in cat"),
    ],
)
def test_one_column_must_hold_one(photos: Path, row: str, problem: str) -> None:
    with pytest.raises(UserError, match=rf"unusable lines \(1\).*\n.*{problem}\nTry"):
        opened(table(photos, *ONE_HOT, row), label_columns=["cat", "dog"]).source  # noqa: B018


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"path_suffix": ""}, r"data\.path_suffix=''; expected.*Try data\.path_suffix=\.jpg"),
        ({"path_suffix": "x/.jpg"}, r"data\.path_suffix='x/\.jpg'"),
        ({"label_columns": ["cat"]}, r"data\.label_columns=\[cat\]; expected two.*Try"),
        ({"label_columns": ["cat", "cat"]}, "expected two or more columns"),
        ({"labels": "join"}, r"data\.labels=join; expected one of merge, keep"),
        ({"label_columns": ["cat", "fox"]}, r"expected one called fox\. Try data\.label_columns="),
    ],
)
def test_keys_of_a_table_are_checked(photos: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        opened(table(photos, *ONE_HOT), **options).source  # noqa: B018


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["path,label", *ROWS, "cats/3.png,nan"], r"line 6 has no label \(label: nan\)"),
        (["path,label,group", *(f"{r},NA" for r in ROWS)], r"line 2 has no group \(group: NA\)"),
        (["path,label", *ROWS, "cats/3.png,cat|dog"], r"line 6 has 2 labels, cat\|dog"),
        (["path,label", *ROWS, "cats/3.png,Cat"], r"cat \(2\), Cat \(1\).*Try data\.labels=merge"),
        (["path,label,label", *(f"{r},x" for r in ROWS)], "only one called label"),
        (["image,label", *ROWS], r"Try data\.path_column=image"),
        (ROWS, "Try a first line with the names of the columns: path,label"),
    ],
)
def test_what_tables_of_others_hold_is_named(photos: Path, lines: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=rf"(?s){problem}"):
        opened(table(photos, *lines)).source  # noqa: B018


def test_columns_may_differ_in_case(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = (f"{row},{split}" for row, split in zip(ROWS, ("Train", "dev") * 2, strict=True))
    source = opened(table(photos, "Path,LABEL,Split", *rows)).source
    assert source.split.tolist() == ["train", "val"] * 2
    assert "the column Split is the split" in caplog.text


def test_the_keys_of_a_table_are_typed_as_text(
    photos: Path, run_train: Callable[..., Path]
) -> None:
    rows = [
        f"{name}/{k},{hot}" for name, hot in (("cats", "1,0"), ("dogs", "0,1")) for k in range(5)
    ]
    file = table(photos, "path,a cat,0", *rows)
    run = run_train(
        "model=mlp",
        "data=csv",
        f"data.csv={file}",
        "data.label_columns=[a cat,0]",
        "data.path_suffix=.png",
        "data.labels=keep",
        "data.image_size=6",
    )
    with (run / "predictions.csv").open() as stream:
        assert (
            next(stream).strip()
            == "path,label,predicted,error,prob/0,prob/a cat,prediction_set,entropy"
        )


def test_predictions_can_be_a_table(photos: Path, run_train: Callable[..., Path]) -> None:
    rows = [f"{kind}/{k}.png,{kind}" for kind in ("cats", "dogs") for k in range(5)]
    file = table(photos, "path,label", *rows)
    run = run_train("model=mlp", "data=csv", f"data.csv={file}", "data.image_size=6")
    source = opened(run / "predictions.csv", root=str(photos)).source
    assert set(source.paths) < {row.split(",")[0] for row in rows} and len(source) > 1
