"""Pictures through HTTP: the answers of predict, and problems in their place."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.dicom_files import dicom
from tests.served import Served, encoded, noise

from strided.access.roles import ALLOWED
from strided.evaluation.classifier import Classifier
from strided.evaluation.predict_files import find_images, predict_files
from strided.service.problems import CODES

WHITE, BLACK = (encoded(np.full((9, 9), shade, np.uint8)) for shade in (255, 0))
GOOD = encoded(noise(8, 8))
TEXT = b"%PDF-1.7 Jane Doe"
CUT_OFF = encoded(noise(64, 64, 3), "JPEG")[:900]


def require_problem(answer: httpx.Response, status: int, code: str) -> None:
    """Require the problem of a code, in words that are none of the file's."""
    said = answer.json()
    assert (answer.status_code, said["code"]) == (status, code), said
    assert answer.headers["content-type"] == "application/problem+json"
    assert said.keys() == {"type", "title", "status", "code", "detail", "request_id"}
    assert said["status"] == CODES[code][0] == status and said["title"] == CODES[code][1]
    assert answer.headers["x-request-id"] == said["request_id"]
    assert "Jane" not in answer.text and "Doe" not in answer.text


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise(40, 20, 3), "JPEG", exif=exif.tobytes())


PICTURES = {
    "grey.png": encoded(noise(12, 9)),
    "colours.jpg": encoded(noise(30, 20, 3), "JPEG"),
    "deep.png": encoded(Image.fromarray(noise(16, 16).astype(np.uint16) * 200)),
    "palette.png": encoded(Image.fromarray(noise(24, 24, 3)).quantize(16)),
    "clear.png": encoded(Image.fromarray(noise(24, 24, 4))),
    "print.jpg": encoded(Image.fromarray(noise(24, 24, 3)).convert("CMYK"), "JPEG"),
    "rotated.jpg": rotated(),
    "scan.dcm": dicom(noise(20, 20)),
}


def test_answers_are_those_of_predict(service: Served, trained_run: Path, tmp_path: Path) -> None:
    for name, content in PICTURES.items():
        (tmp_path / name).write_bytes(content)
    classifier = Classifier.load(trained_run, device="cpu")
    found = find_images(str(tmp_path))
    for file, row in zip(found.files, predict_files(classifier, found, 64), strict=True):
        kind = {".png": "image/png", ".jpg": "image/jpeg", ".dcm": "application/dicom"}[file.suffix]
        with service.client() as client:
            alone = client.post(
                "/v1/predict", content=file.read_bytes(), headers={"Content-Type": kind}
            )
        (result,) = alone.json()["results"]
        (in_form,) = service.predict(file.read_bytes()).json()["results"]
        assert row.probabilities is not None and result["error"] is None
        expected = dict(zip(classifier.classes, row.probabilities, strict=True))
        assert result["probabilities"] == pytest.approx(expected, abs=1e-4), file.name
        assert in_form["probabilities"] == pytest.approx(result["probabilities"], abs=1e-6)
        assert result["class"] == max(expected, key=expected.__getitem__)
        assert result["confidence"] == result["probabilities"][result["class"]]
        assert result["uncertainty"]["entropy"] == pytest.approx(row.entropy, abs=1e-3)


def test_what_the_bundle_does_not_know_is_null_and_a_person_decides(service: Served) -> None:
    answer = service.predict(GOOD, heatmap=True)
    said = answer.json()
    assert answer.status_code == 200
    assert said.keys() == {"request_id", "model", "notice", "results", "timing_ms"}
    assert said["model"]["name"] == "digits" and said["model"]["version"] == 1
    assert "Not a medical device" in said["notice"]
    (result,) = said["results"]
    assert result["uncertainty"]["ood"] is result["heatmap"] is None
    assert result["class"] in result["prediction_set"]
    assert result["route"] == "review"
    assert [reason["code"] for reason in result["reasons"]] == ["no_triage_policy"]
    first, second = sorted(result["probabilities"].values())[:-3:-1]
    assert result["uncertainty"]["margin"] == pytest.approx(first - second)
    assert result["input"] == {"format": "PNG", "width": 8, "height": 8, "frames": 1}
    assert said["timing_ms"].keys() == {"decode", "queue", "run", "total"}
    assert 0 < said["timing_ms"]["run"] < said["timing_ms"]["total"]


def test_a_bad_file_does_not_fail_its_neighbours(service: Served) -> None:
    answer = service.predict(GOOD, TEXT, CUT_OFF, WHITE, BLACK)
    assert answer.status_code == 200
    results = answer.json()["results"]
    codes = [result["error"] and result["error"]["code"] for result in results]
    assert codes == [None, "unsupported_format", "unreadable", "not_finite", "internal"]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]
    assert len({result["id"] for result in results}) == 5
    (alone,) = service.predict(GOOD).json()["results"]
    assert results[0]["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)
    assert all(result["class"] is None for result in results if result["error"])
    assert "Jane" not in answer.text


def test_the_first_of_several_frames_is_decoded(service: Served) -> None:
    first, second = (Image.fromarray(noise(8, 8, 3, seed=seed)) for seed in (1, 2))
    several = encoded(first, "PNG", save_all=True, append_images=[second])
    (result,) = service.predict(several).json()["results"]
    assert result["input"]["frames"] == 2
    (alone,) = service.predict(encoded(first)).json()["results"]
    assert result["probabilities"] == alone["probabilities"]


PROBLEMS: dict[str, tuple[list[bytes], int, str]] = {
    "a text": ([TEXT], 415, "unsupported_format"),
    "nothing": ([b""], 415, "unsupported_format"),
    "a GIF": ([encoded(noise(9, 9), "GIF")], 415, "unsupported_format"),
    "two texts": ([TEXT, TEXT], 415, "unsupported_format"),
    "a picture that is cut off": ([CUT_OFF], 422, "unreadable"),
    "a text and a picture that is cut off": ([TEXT, CUT_OFF], 422, "unreadable"),
    "a PNG that is a name": ([b"\x89PNG\r\n\x1a\nJane Doe was here"], 422, "unreadable"),
    "too many pixels": ([encoded(np.zeros((1001, 1000), bool))], 422, "too_many_pixels"),
    "a line": ([encoded(noise(1, 400))], 422, "unreadable"),
    "DICOM that is a JPEG, too": ([b"\xff\xd8\xff" + dicom(noise(9, 9))[3:]], 422, "unreadable"),
    "DICOM that is cut off": ([dicom(noise(9, 9))[:-30]], 422, "unreadable"),
    "a file too many": ([GOOD] * 6, 400, "too_many_files"),
    "many files too many": ([GOOD] * 20, 400, "too_many_files"),
    "a body too large": ([GOOD, bytes(2**19)], 413, "body_too_large"),
    "a network that gives NaN": ([WHITE], 503, "not_finite"),
    "a fault": ([BLACK], 503, "internal"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_files_that_have_no_answer(service: Served, name: str) -> None:
    files, status, code = PROBLEMS[name]
    require_problem(service.predict(*files), status, code)


Words = dict[str, Any]
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=x"}
REQUESTS: dict[str, tuple[str, str, Words, int, str]] = {
    "an address that there is not": ("GET", "/v1/Jane", {}, 404, "not_found"),
    "the address with a slash": ("POST", "/v1/predict/", {}, 404, "not_found"),
    "another method": ("DELETE", "/v1/predict", {}, 405, "method_not_allowed"),
    "no form": ("POST", "/v1/predict", {"data": {"a": "Jane"}}, 415, "unsupported_type"),
    "no type": ("POST", "/v1/predict", {"content": GOOD}, 415, "unsupported_type"),
    "no boundary": (
        *("POST", "/v1/predict"),
        {"content": b"Jane", "headers": {"Content-Type": "multipart/form-data"}},
        *(400, "malformed_request"),
    ),
    "a broken form": (
        *("POST", "/v1/predict"),
        {"content": b"--x\r\nJane Doe", "headers": BOUNDARY},
        *(400, "malformed_request"),
    ),
    "an empty form": (
        *("POST", "/v1/predict"),
        {"content": b"--x--\r\n", "headers": BOUNDARY},
        *(400, "malformed_request"),
    ),
    "a part of another name": (
        *("POST", "/v1/predict"),
        {"files": {"Jane": GOOD}},
        *(400, "malformed_request"),
    ),
    "a field beside the file": (
        *("POST", "/v1/predict"),
        {"files": {"file": GOOD}, "data": {"Jane": "Doe"}},
        *(400, "malformed_request"),
    ),
    "another parameter": ("POST", "/v1/predict?heat=1", {}, 400, "bad_parameter"),
    "another value": ("POST", "/v1/predict?heatmap=Jane", {}, 400, "bad_parameter"),
    "another class": (
        *("POST", "/v1/predict?class=Jane"),
        {"files": {"file": GOOD}},
        *(400, "bad_parameter"),
    ),
    "a version that there is not": ("POST", "/v1/models/7/activate", {}, 404, "unknown_version"),
    "no version": ("POST", "/v1/models/Jane/activate", {}, 404, "unknown_version"),
    "half a version": ("POST", "/v1/models/1.0/activate", {}, 404, "unknown_version"),
    "version zero": ("POST", "/v1/models/01/activate", {}, 404, "unknown_version"),
    "nothing to go back to": ("POST", "/v1/models/rollback", {}, 409, "no_earlier_version"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_that_have_no_answer(service: Served, name: str) -> None:
    method, path, words, status, code = REQUESTS[name]
    with service.client() as client:
        require_problem(client.request(method, path, **words), status, code)


def test_a_chunked_body_has_the_same_limit(service: Served) -> None:
    pieces = (bytes(2**16) for _ in range(9))
    with service.client() as client:
        answer = client.post("/v1/predict", content=pieces, headers={"Content-Type": "image/png"})
    require_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Host", "strided.example:8000", 400),
        ("Origin", "https://strided.example", 400),
        ("Origin", "null", 400),
        ("Host", "localhost:8000", 200),
        ("Origin", "http://127.0.0.1:8000", 200),
    ],
)
def test_a_page_of_another_site_is_not_answered(
    service: Served, header: str, value: str, status: int
) -> None:
    with service.client() as client:
        answer = client.get("/v1/model", headers={header: value})
    assert answer.status_code == status
    if status == 400:
        require_problem(answer, 400, "foreign_page")


def test_what_is_no_http_gets_a_problem_too(service: Served) -> None:
    import socket

    host, port = service.url.removeprefix("http://").split(":")
    for sent in (b"Jane Doe\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(sent)
            head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"problem+json" in head
        assert json.loads(body)["code"] == "malformed_request"


def test_a_request_keeps_its_id_if_it_is_a_plain_word(service: Served) -> None:
    with service.client() as client:
        for given, is_kept in {"a-B_9": True, "a b": False, "x" * 65: False, "": False}.items():
            answer = client.get("/livez", headers={"X-Request-ID": given})
            assert (answer.headers["x-request-id"] == given) is is_kept
            assert 1 <= len(answer.headers["x-request-id"]) <= 64


def test_what_cannot_be_recorded_is_not_given(service: Served) -> None:
    before = service.counts()
    with service.client() as client:
        given = {"X-Request-ID": "unrecorded"}
        answer = client.post("/v1/predict", files={"file": GOOD}, headers=given)
    require_problem(answer, 503, "not_recorded")
    after = service.counts()
    predicted = [name for name in after if name.startswith("strided_images_total")]
    assert [after[name] for name in predicted] == [before.get(name) for name in predicted]


def test_the_counts_are_exact(service: Served) -> None:
    before = service.counts()
    service.predict(GOOD)
    service.predict(GOOD, TEXT, GOOD)
    service.predict(TEXT)
    service.predict(BLACK)
    with service.client() as client:
        client.get("/nowhere/Jane")
    after = service.counts()
    found = {
        name: after[name] - before.get(name, 0)
        for name in after
        if "_bucket" not in name and "_sum" not in name and after[name] != before.get(name, 0)
    }
    label = service.predict(GOOD).json()["results"][0]["class"]
    route = 'route="/v1/predict"'
    assert found == {
        f'strided_requests_total{{code="200",{route}}}': 2,
        f'strided_requests_total{{code="415",{route}}}': 1,
        f'strided_requests_total{{code="503",{route}}}': 1,
        'strided_requests_total{code="404",route="other"}': 1,
        'strided_requests_total{code="200",route="/metrics"}': 1,
        f'strided_images_total{{class="{label}",route_of_triage="review"}}': 3,
        'strided_rejected_total{reason="unsupported_format"}': 2,
        'strided_rejected_total{reason="internal"}': 1,
        'strided_rejected_total{reason="not_found"}': 1,
        "strided_batch_size_count": found["strided_batch_size_count"],  # of 3 images in all
        'strided_stage_seconds_count{stage="decode"}': 4,
        'strided_stage_seconds_count{stage="run"}': 3,
        'strided_stage_seconds_count{stage="queue"}': 6,
        'strided_stage_seconds_count{stage="total"}': 2,
    }
    assert after["strided_batch_size_sum"] - before["strided_batch_size_sum"] == 3
    assert after["strided_queue_images"] == 0 and after["strided_inflight"] == 1


def test_each_request_is_a_line_of_the_log(service: Served) -> None:
    with service.client() as client:
        client.post("/v1/predict", files={"file": GOOD}, headers={"X-Request-ID": "good"})
        client.post("/v1/predict", files={"file": BLACK}, headers={"X-Request-ID": "black"})
        client.get("/Jane", headers={"X-Request-ID": "gone", "User-Agent": "Jane"})
        client.get("/livez")  # an answer may be here before its line is there
    text = (service.folder / "run.log").read_text()
    assert "Jane" not in text and "Doe" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    of = {line["http.request.id"]: line for line in lines if "http.request.id" in line}
    for name, status in {"good": 200, "black": 503, "gone": 404}.items():
        assert of[name]["http.response.status_code"] == status
        assert of[name]["event.duration"] > 0 and of[name]["@timestamp"].endswith("Z")
    assert of["good"]["log.level"] == "info" and lines[0]["event.action"] == "start"
    assert of["good"]["event.action"] == "/v1/predict" and of["gone"]["event.action"] == "other"
    assert of["good"]["strided.model.version"] == 1 and of["good"]["strided.routes"] == ["review"]
    (fault, *_) = [line for line in lines if line.get("error.type") == "ZeroDivisionError"]
    assert fault["log.level"] == "error" and "a fault" in fault["error.stack_trace"]
    assert (service.folder / "config.yaml").is_file()


def test_the_description_needs_no_other_machine(service: Served) -> None:
    with service.client() as client:
        document = client.get("/openapi.json").json()
        page = client.get("/docs").text
    assert document["openapi"].startswith("3.1")
    guarded = {path for _, path in ALLOWED} - {"/docs", "/openapi.json"}
    assert set(document["paths"]) == guarded | {"/livez", "/readyz"}
    answers = document["paths"]["/v1/predict"]["post"]["responses"]
    assert set(answers) == {"200", *map(str, (400, 401, 403, 413, 415, 422, 429, 503, 504))}
    changed = document["paths"]["/v1/models/{version}/activate"]["post"]
    assert set(changed["responses"]) == {"200", *map(str, (400, 401, 403, 404, 409, 429, 503))}
    assert [given["name"] for given in changed["parameters"]] == ["version"]
    assert "<script" not in page and "src=" not in page and "https:" not in page
    assert all(f'id="{code}"' in page for code in CODES)


def test_the_model_is_told_without_the_paths_of_the_machine(
    service: Served, exported: Path
) -> None:
    with service.client() as client:
        answer = client.get("/v1/model")
    said = answer.json()
    manifest = json.loads((exported / "1" / "manifest.json").read_text())
    assert said["manifest"] == manifest and said["available"] == [1]
    assert said["active"] == {
        "name": "digits",
        "version": 1,
        "sha256": manifest["files"]["model.onnx"]["sha256"],
    }
    assert str(exported.parent) not in answer.text
