"""People decide cases: the queue, the history, both opinions, and who was faster."""

import csv
import io
import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.dicom_files import dicom
from tests.served import Served, audited, encoded, form, noise, served

from strided.serving.bundle import Bundle


@pytest.fixture(scope="module")
def service(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service whose cases are all for people, and whose comments and labels are kept."""
    folder = tmp_path_factory.mktemp("reviewed")
    words = [
        "access.rate_per_minute=100000",
        "review.comments=true",
        f"review.export={folder}/labels",
        "drift.accuracy_floor=0.9",
    ]
    with served(exported, folder, *words) as found:
        yield found


@pytest.fixture(scope="module")
def people(service: Served) -> Iterator[dict[str, httpx.Client]]:
    """A client for each role, and a second clinician."""
    with service.client(service.keys["admin"]) as admin:
        roles = ("viewer", "auditor", "clinician")
        made = [admin.post("/v1/keys", json={"role": role}).json()["key"] for role in roles]
        keys = dict(zip(("viewer", "auditor", "other"), made, strict=True))
        keys["clinician"] = service.keys["clinician"]
        clients = {name: service.client(key) for name, key in keys.items()}
        yield clients
        for client in clients.values():
            client.close()


def asked(client: httpx.Client, *files: bytes) -> list[dict[str, Any]]:
    """The results of new predictions."""
    return list(client.post("/v1/predict", files=form(*files)).json()["results"])


def case_of(client: httpx.Client, id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/predictions/{id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def decide(client: httpx.Client, case: dict[str, Any], **more: Any) -> httpx.Response:
    body = {"decision": "confirm", "etag": case["review"]["etag"], **more}
    return client.post(f"/v1/review/{case['id']}", json=body)


def other_class(case: dict[str, Any]) -> str:
    return next(name for name in "0123456789" if name != case["class"])


def test_a_case_is_read_as_it_was_answered(people: dict[str, httpx.Client]) -> None:
    (result,) = asked(people["clinician"], encoded(noise(8, 8, seed=1)))
    case = case_of(people["clinician"], result["id"])
    same = ("id", "class", "confidence", "probabilities", "prediction_set", "uncertainty", "route")
    assert {key: case[key] for key in same} == {key: result[key] for key in same}
    assert case["reasons"] == result["reasons"] and case["mine"] and case["has_picture"]
    assert case["review"]["state"] == "open" and case["review"]["decision"] is None
    assert not case_of(people["viewer"], result["id"])["mine"]


def test_a_clinician_confirms_and_overrides_and_both_opinions_stay(
    service: Served, people: dict[str, httpx.Client]
) -> None:
    first, second = asked(people["clinician"], encoded(noise(8, 8, seed=2)), encoded(noise(8, 8)))
    queue = people["other"].get("/v1/review").json()
    waiting = {case["id"]: case for case in queue["cases"]}
    assert {first["id"], second["id"]} <= waiting.keys() and queue["open"] == len(waiting)
    assert not waiting[first["id"]]["mine"]
    confirmed = decide(people["other"], waiting[first["id"]]).json()
    assert confirmed["review"]["class"] == confirmed["class"] == first["class"]
    label = other_class(second)
    answer = decide(
        people["other"],
        waiting[second["id"]],
        decision="override",
        comment="the loop is closed",
        **{"class": label},
    ).json()
    assert answer["class"] == second["class"] and answer["review"]["class"] == label
    assert answer["review"]["state"] == "decided" and not answer["has_picture"]
    assert answer["review"]["comment"] == "the loop is closed"
    decided = people["clinician"].get("/v1/review", params={"state": "decided", "limit": 2}).json()
    assert [case["id"] for case in decided["cases"]] == [second["id"], first["id"]]
    reviews = [row for row in audited(service) if row["action"] == "review"][-2:]
    assert [json.loads(row["output"]) for row in reviews] == [
        {"id": one["id"], "decision": said, "class": by_person, "network": one["class"]}
        for one, said, by_person in (
            (first, "confirm", first["class"]),
            (second, "override", label),
        )
    ]
    predicted = [row for row in audited(service) if row["action"] == "predict"][-2:]
    assert [row["object"] for row in reviews] == [row["object"] for row in predicted]
    assert "loop is closed" not in json.dumps(audited(service))


def test_of_two_clinicians_one_decides(service: Served, people: dict[str, httpx.Client]) -> None:
    results = asked(people["clinician"], *[encoded(noise(8, 8, seed=seed)) for seed in range(5)])
    cases = [case_of(people["clinician"], one["id"]) for one in results]
    before = len([row for row in audited(service) if row["action"] == "review"])
    with ThreadPoolExecutor(2) as pool:
        for case in cases:
            attempts = [pool.submit(decide, people[who], case) for who in ("clinician", "other")]
            codes = sorted(attempt.result().status_code for attempt in attempts)
            assert codes == [200, 409]
            again = decide(people["clinician"], case_of(people["other"], case["id"]))
            assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    reviews = [row for row in audited(service) if row["action"] == "review"]
    assert len(reviews) == before + 5


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"class": "seven"}, 422, "unknown_class"),
        ({"decision": "override"}, 422, "unknown_class"),
        ({"decision": "override", "class": "seven"}, 422, "unknown_class"),
        ({"decision": "override", "class": None}, 422, "unknown_class"),
        ({"decision": "maybe"}, 400, "bad_parameter"),
        ({"comment": "a\0b"}, 400, "bad_parameter"),
        ({"comment": "a" * 1001}, 400, "bad_parameter"),
        ({"etag": None}, 400, "bad_parameter"),
        ({"etag": "another"}, 409, "already_decided"),
        ({"who": "me"}, 400, "bad_parameter"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(
    people: dict[str, httpx.Client], open_case: dict[str, Any], more: dict[str, Any],
    status: int, code: str,
) -> None:  # fmt: skip
    answer = decide(people["clinician"], open_case, **more)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert case_of(people["clinician"], open_case["id"])["review"] == open_case["review"]


@pytest.fixture(scope="module")
def open_case(people: dict[str, httpx.Client]) -> dict[str, Any]:
    """A case that waits until the end."""
    (result,) = asked(people["clinician"], encoded(noise(8, 8, seed=3)))
    return case_of(people["clinician"], result["id"])


def test_an_override_names_another_class(
    people: dict[str, httpx.Client], open_case: dict[str, Any]
) -> None:
    more = {"decision": "override", "class": open_case["class"]}
    assert decide(people["clinician"], open_case, **more).json()["code"] == "unknown_class"


def test_a_picture_is_what_the_network_saw_and_who_looks_is_written(
    service: Served, exported: Path, people: dict[str, httpx.Client]
) -> None:
    picture = Image.fromarray(noise(24, 30, 3, seed=4))
    (result,) = asked(people["clinician"], encoded(picture))
    address = f"/v1/predictions/{result['id']}/image"
    answer = people["other"].get(address)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    with Image.open(io.BytesIO(answer.content)) as shown:
        seen = np.asarray(shown)
    expected = Bundle.load(exported).preprocessing.pixels(picture)
    assert (seen == expected[0]).all()
    last = [row for row in audited(service) if row["action"] != "denied"][-1]
    assert (last["action"], last["role"]) == ("view", "clinician")
    assert json.loads(last["output"]) == {"id": result["id"]}
    for who in ("viewer", "auditor"):
        assert people[who].get(address).status_code == 403
    assert decide(people["clinician"], case_of(people["clinician"], result["id"])).is_success
    assert people["other"].get(address).json()["code"] == "no_picture"


def test_the_history_goes_on_page_by_page(people: dict[str, httpx.Client]) -> None:
    asked(people["clinician"], *[encoded(noise(8, 8, seed=seed)) for seed in range(4)])
    whole = people["auditor"].get("/v1/predictions", params={"limit": 200}).json()
    ids = [one["id"] for one in whole["predictions"]]
    assert ids == sorted(ids, reverse=True) and whole["next"] is None
    first = people["viewer"].get("/v1/predictions", params={"limit": 3}).json()
    rest = people["viewer"].get("/v1/predictions", params={"limit": 200, "before": first["next"]})
    assert [one["id"] for one in first["predictions"] + rest.json()["predictions"]] == ids
    none = people["viewer"].get("/v1/predictions", params={"route": "auto"}).json()
    assert none == {"predictions": [], "next": None}
    for bad in ({"limit": 201}, {"before": "x"}, {"route": "maybe"}):
        assert people["viewer"].get("/v1/predictions", params=bad).status_code == 400
    answer = people["viewer"].get(f"/v1/predictions/{'0' * 32}")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_prediction")
    for wrong in ("x", "%00", "0" * 33):
        assert people["viewer"].get(f"/v1/predictions/{wrong}").status_code == 400


def test_a_request_id_that_comes_twice_is_no_fault(people: dict[str, httpx.Client]) -> None:
    files, headers = form(encoded(noise(8, 8))), {"X-Request-ID": "the-same"}
    answers = [
        people["clinician"].post("/v1/predict", files=files, headers=headers) for _ in range(2)
    ]
    first, second = (answer.json()["results"][0]["id"] for answer in answers)
    assert first != second


def test_labels_go_to_the_folder_without_a_name(
    service: Served, people: dict[str, httpx.Client]
) -> None:
    """By groups of patients."""
    of_one = [dicom(noise(24, 24, seed=seed), PatientID="p-1") for seed in (0, 1)]
    of_another = dicom(noise(24, 24, seed=2), PatientID="p-2")
    of_nobody = dicom(noise(24, 24, seed=3), PatientID=None, StudyInstanceUID="1.2.3")
    results = asked(people["clinician"], *of_one, of_another, of_nobody)
    for one in results:
        case = case_of(people["clinician"], one["id"])
        assert decide(people["clinician"], case).status_code == 200
    folder = Path(service.state).parent / "labels"
    with (folder / "labels.csv").open() as stream:
        found = {row["path"]: row for row in csv.DictReader(stream)}
    assert len(found) == len(list((folder / "images").glob("*.png")))
    mine = [found[f"images/{one['id']}.png"] for one in results]
    assert [row["label"] for row in mine] == [one["class"] for one in results]
    first, second, third, last = (row["group"] for row in mine)
    assert first == second and len({first, third, last}) == 3
    studies = [row["object"] for row in audited(service) if row["action"] == "review"]
    assert last == studies[-1] and first not in studies
    with closing(sqlite3.connect(service.state / "service.sqlite")) as database:
        kept = database.execute("select count(*) from pictures where label is not null").fetchone()
    assert kept == (0,)


def test_an_accuracy_below_the_floor_is_told(
    service: Served, people: dict[str, httpx.Client]
) -> None:
    pictures = [encoded(noise(8, 8, seed=seed)) for seed in range(10)]
    for one in asked(people["clinician"], *pictures) + asked(people["other"], *pictures):
        case = case_of(people["clinician"], one["id"])
        more = {"decision": "override", "class": other_class(case)}
        assert decide(people["other"], case, **more).status_code == 200
    feedback = people["clinician"].get("/v1/review").json()["feedback"]
    assert feedback["reviewed"] >= 20 and feedback["alarm"] and feedback["floor"] == 0.9
    assert feedback["accuracy"] == feedback["right"] / feedback["reviewed"] < 0.9
    low, high = feedback["interval"]
    assert 0 <= low < feedback["accuracy"] < high <= 1
    assert feedback["by_route"]["review"] == {
        key: feedback[key] for key in ("reviewed", "right", "accuracy", "interval")
    }
    assert "not the accuracy on all cases" in feedback["notice"]
    with service.client(service.keys["admin"]) as admin:
        counts = admin.get("/metrics").text
    assert "strided_accuracy_alarm 1.0" in counts
    assert f"strided_reviewed_cases {float(feedback['reviewed'])}" in counts
    log = (service.folder / "run.log").read_text()
    assert log.count("below drift.accuracy_floor=0.9") == 1


def test_the_page_can_tell_what_is_kept(people: dict[str, httpx.Client]) -> None:
    facts = people["viewer"].get("/v1/model").json()
    assert facts["review"] == {"comments": True, "keep_hours": 72.0, "exported": True}


def test_without_leave_there_is_no_text_and_what_waits_too_long_is_closed(
    exported: Path, tmp_path: Path
) -> None:
    with served(exported, tmp_path, f"state={tmp_path}/state") as service:
        with service.client() as anybody:
            result, decided = asked(anybody, encoded(noise(8, 8)), encoded(noise(8, 8, seed=1)))
            case = case_of(anybody, result["id"])
            refused = decide(anybody, case, comment="Jane Doe")
            assert (refused.status_code, refused.json()["code"]) == (422, "comment_not_allowed")
        service.stop()
    # as a kill would leave it between the decision and the file
    with closing(sqlite3.connect(tmp_path / "state" / "service.sqlite")) as database:
        database.execute("update reviews set state = 'decided' where id = ?", (decided["id"],))
        database.execute("update pictures set label = '3' where id = ?", (decided["id"],))
        database.commit()
    words = ["review.keep_hours=0.0001", f"review.export={tmp_path}/labels"]
    with served(exported, tmp_path, f"state={tmp_path}/state", *words) as service:
        with service.client() as anybody:
            for _ in range(200):
                if case_of(anybody, case["id"])["review"]["state"] != "open":
                    break
                time.sleep(0.1)
            closed = case_of(anybody, case["id"])
            assert closed["review"]["state"] == "expired" and not closed["has_picture"]
            answer = decide(anybody, closed)
            assert (answer.status_code, answer.json()["code"]) == (409, "review_closed")
            answer = anybody.get(f"/v1/predictions/{case['id']}/image")
            assert answer.json()["code"] == "no_picture"
        expired = [row for row in audited(service) if row["action"] == "review_expired"]
    assert [(row["actor"], json.loads(row["output"])) for row in expired] == [
        ("service", {"id": case["id"]})
    ]
    group = next(row["object"] for row in audited(service) if decided["id"] in str(row["output"]))
    with (tmp_path / "labels" / "labels.csv").open() as stream:
        found = list(csv.reader(stream))[1:]
    assert found == [[f"images/{decided['id']}.png", "3", group]]
