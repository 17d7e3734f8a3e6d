"""What identifies a patient is nowhere: no log, count, database, answer or temporary folder."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from tests.dicom_files import data_set, written
from tests.served import Served, encoded, noise, served

from strided.audit.database import opened_to_read, rows
from strided.audit.place import place_of
from strided.dicom.header import READ

NAMES = ("Planted^Latin", "Засаженный^Имя", "植入^姓名", "مزروع^اسم")  # in 4 scripts
STUDY = "1.2.826.0.1.3680043.8.498.77777"
# what may be found nowhere; each stands in another place
PLANTED = [f"planted{number:02d}" for number in range(28)]


def planted() -> list[str]:
    return [*PLANTED, *NAMES, STUDY, "19610203"]


@pytest.fixture(scope="module")
def spots() -> dict[str, str]:
    """An identifier for each spot."""
    names = (
        *("id", "address", "comment", "study_text", "series_text", "accession", "overlay"),
        *("private", "nested", "nested_private", "window_text", "lut_text", "operator"),
        *("file_name", "exif", "png_text", "query", "header", "id_header", "kind", "class"),
        *("path", "jpeg_comment", "wrong"),
        *("review_comment", "review_class", "review_id", "review_etag"),
    )
    assert len(names) == len(PLANTED)
    return dict(zip(names, PLANTED, strict=True))


def radiograph(spots: dict[str, str], name: str, **elements: Any) -> bytes:
    """A DICOM file with an identifier in each place that there is."""
    data = data_set(noise(24, 24), StudyInstanceUID=STUDY, **elements)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID, data.PatientBirthDate = name, spots["id"], "19610203"
    data.PatientAddress, data.PatientComments = spots["address"], spots["comment"]
    data.StudyDescription, data.SeriesDescription = spots["study_text"], spots["series_text"]
    data.AccessionNumber, data.OperatorsName = spots["accession"], spots["operator"]
    data.WindowCenter, data.WindowWidth = 128, 256
    data.WindowCenterWidthExplanation = spots["window_text"]
    data.add_new(0x60003000, "OB", spots["overlay"].encode() + b"\0" * 63)
    data.private_block(0x0099, "PLANTED", create=True).add_new(1, "LO", spots["private"])
    nested = Dataset()
    nested.PatientName, nested.LUTExplanation = spots["nested"], spots["lut_text"]
    nested.private_block(0x0099, "PLANTED", create=True).add_new(1, "LO", spots["nested_private"])
    data.RequestAttributesSequence = [nested]
    data.preamble = b"\0" * 128
    return written(data)


def pictures(spots: dict[str, str]) -> list[bytes]:
    exif = Image.Exif()
    exif[0x010E] = spots["exif"]  # ImageDescription
    exif[0x9286] = b"ASCII\0\0\0" + spots["exif"].encode()  # UserComment
    text = PngInfo()
    text.add_text("Comment", spots["png_text"])
    image = Image.fromarray(noise(24, 24, 3))
    return [
        encoded(image, "JPEG", exif=exif.tobytes(), comment=spots["jpeg_comment"].encode()),
        encoded(image, "PNG", pnginfo=text),
        *(radiograph(spots, name) for name in NAMES),
    ]


def faulty(spots: dict[str, str]) -> list[bytes]:
    """Files whose damage stands in an identifier."""
    wrong = spots["wrong"]
    whole = radiograph(spots, NAMES[0])
    png = pictures(spots)[1]
    return [
        wrong.encode(),
        b"\xff\xd8\xff" + wrong.encode() * 30,
        png[: len(png) // 2],
        png.replace(b"IDAT", b"IDAX", 1),
        whole.replace(b"MONOCHROME2", wrong[:11].ljust(11).encode()),
        whole.replace(b"128 ", b"plan", 1),
        whole[: len(whole) // 2],
        whole.replace(STUDY.encode(), wrong.ljust(len(STUDY)).encode()),
        b"\0" * 128 + b"DICM" + wrong.encode() * 40,
    ]


def sent(service: Served, spots: dict[str, str], key: str) -> list[str]:
    """All that the service answers."""
    good, bad = pictures(spots), faulty(spots)
    names = (f"{spots['file_name']} Имя {index}.dcm" for index in range(99))
    said = []
    with service.client(key) as client:
        for files in ([*good[:3]], [*good[3:]], [*bad[:5], good[0]], *([file] for file in bad)):
            parts = [("file", (next(names), file)) for file in files]
            said.append(client.post("/v1/predict", files=parts).text)
        odd: dict[str, Any] = {
            "headers": {"X-Patient": spots["header"], "X-Request-ID": f"{spots['id_header']} Doe"},
            "params": {spots["query"]: spots["query"]},
        }
        said.append(client.post("/v1/predict", files=parts, **odd).text)
        said.append(client.post("/v1/predict", files=parts, params={"class": spots["class"]}).text)
        said.append(client.get(f"/v1/{spots['path']}").text)
        said.append(client.delete(f"/v1/keys/{spots['path']}").text)
        kind = {"Content-Type": f"image/{spots['kind']}"}
        said.append(client.post("/v1/predict", content=good[0], headers=kind).text)
        said += reviewed(client, spots)
    with service.client(f"{spots['wrong']}") as client:
        said.append(client.get("/v1/model").text)
    return said


def reviewed(client: httpx.Client, spots: dict[str, str]) -> list[str]:
    """What is said when cases are looked at and decided, some of them wrongly."""
    wanted = {"decision": "confirm", "etag": "x"}
    said = [client.get(f"/v1/predictions/{spots['review_id']}").text]
    said.append(client.post(f"/v1/review/{spots['review_id']}", json=wanted).text)
    said.append(client.get("/v1/predictions", params={"before": spots["review_id"]}).text)
    cases = client.get("/v1/review", params={"limit": 200}).json()["cases"]
    assert len(cases) >= 6
    for number, case in enumerate(cases):
        address = f"/v1/review/{case['id']}"
        right = {"decision": "confirm", "etag": case["review"]["etag"]}
        for key in ("comment", "class", "etag"):
            wrong = {**right, key: spots[f"review_{key}"]}
            said.append(client.post(address, json=wrong).text)
        image = client.get(f"/v1/predictions/{case['id']}/image")
        assert image.status_code == 200
        said.append(image.content.decode("latin-1"))
        if number % 2:  # the others wait
            answer = client.post(address, json=right)
            assert answer.status_code == 200
            said.append(answer.text)
    return [*said, client.get("/v1/review", params={"state": "all"}).text]


def found_in(content: bytes) -> list[str]:
    """Which identifiers stand there, as they are, escaped, or in another encoding."""
    encodings = ("utf-8", "utf-16-le", "unicode_escape")
    return [one for one in planted() for coding in encodings if one.encode(coding) in content]


def test_what_was_planted_is_found_nowhere(
    exported: Path, tmp_path: Path, spots: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(planted()) >= 30
    assert all(found_in(file) for file in pictures(spots))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    words = ["access.enabled=true", f"state={tmp_path}/state", f"review.export={tmp_path}/labels"]
    with served(exported, tmp_path, *words) as service:
        answers = sent(service, spots, service.keys["clinician"])
        with service.client(service.keys["admin"]) as client:
            answers.append(client.get("/metrics").text)
        assert '"route":"review"' in answers[0] and "burned_in_unknown" in answers[0]
        while_running = contents(tmp_path)
        assert any("/labels/images/" in place for place in while_running)
        service.stop()
        assert service.process.stdout is not None and service.process.stderr is not None
        said = service.process.stdout.read() + service.process.stderr.read()
    for place, content in {**while_running, **contents(tmp_path)}.items():
        assert not found_in(content), place
    for answer in [*answers, said]:
        assert not found_in(answer.encode()), answer
    assert not list(temporary.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """All files: logs, the database with its log and free pages."""
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_study_has_one_pseudonym_that_others_cannot_make(
    service: Served, spots: dict[str, str]
) -> None:
    same = [radiograph(spots, name) for name in NAMES[:2]]
    other = written(data_set(noise(24, 24), StudyInstanceUID="1.2.3"))
    unknown = written(data_set(noise(24, 24), StudyInstanceUID=None))
    texts = PngInfo()
    for name, value in {"study": STUDY, "patient": "Jane", "is_clean": ""}.items():
        texts.add_text(name, value)
    claims = encoded(noise(24, 24), pnginfo=texts)  # what only DICOM says
    answer = service.predict(*same, other, unknown, claims).json()
    assert [one["code"] for one in answer["results"][-1]["reasons"]] == ["no_triage_policy"]
    request_id = answer["request_id"]
    engine = opened_to_read(place_of(str(service.state), "database"))
    found = [row for row in rows(engine) if row["request_id"] == request_id]
    engine.dispose()
    first, second, third, *others = found
    assert first["object"] == second["object"] != third["object"]
    assert first["input"] != second["input"]
    assert all(row["object"] == row["input"] for row in others)
    import hashlib

    assert first["object"] != hashlib.sha256(STUDY.encode()).hexdigest()


@pytest.mark.parametrize(("said", "is_named"), [(None, True), ("YES", True), ("NO", False)])
def test_text_that_may_be_burned_in_is_a_reason(
    service: Served, said: str | None, is_named: bool
) -> None:
    elements = {"BurnedInAnnotation": said} if said else {}
    answer = service.predict(written(data_set(noise(24, 24), **elements))).json()
    (result,) = answer["results"]
    assert result["route"] == "review"
    assert ("burned_in_unknown" in [one["code"] for one in result["reasons"]]) == is_named


def test_of_what_identifies_only_study_and_patient_are_read() -> None:
    """The table of PS3.15 2026c: each tag on which a profile acts."""
    table: set[tuple[int, ...]] = set()
    for name in dir(dicomfields_2026c):
        if name.endswith("_TAGS"):
            table |= {tag[:2] for tag in getattr(dicomfields_2026c, name)}
    assert len(table) > 400
    read = {(tag >> 16, tag & 0xFFFF): key for key in READ if (tag := tag_for_keyword(key))}
    assert len(read) == len(READ)
    known = {"StudyInstanceUID", "PatientID", "SOPClassUID"}
    assert {read[tag] for tag in read.keys() & table} <= known
