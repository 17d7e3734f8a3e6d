"""Who may ask: keys, tokens, roles, how often; and what of it is in the audit."""

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.dicom_files import data_set, written
from tests.served import Served, audited, encoded, form, noise, served

from strided.access.roles import ALLOWED, PUBLIC, ROLES
from strided.audit.checking import checked
from strided.audit.database import opened_to_read, rows
from strided.audit.place import place_of
from strided.cli import main
from strided.config.yaml_files import CONF_DIR

GOOD = encoded(noise(8, 8))
PAIR = Ed25519PrivateKey.generate()
PRIVATE = PAIR.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC_KEY = PAIR.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
CLAIMS = {"iss": "https://sso.example.org", "aud": "strided", "sub": "r.lee", "role": "auditor"}


@pytest.fixture(scope="module")
def service(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "public.pem").write_bytes(PUBLIC_KEY)
    accepted = f"public_key:'{folder}/public.pem',algorithm:EdDSA,issuer:'{CLAIMS['iss']}'"
    words = [
        "access.rate_per_minute=100000",
        f"access.jwt={{{accepted},audience:strided}}",
        f"audit.anchor={folder}/anchor.txt",
    ]
    with served(exported, folder, *words) as found:
        yield found


@pytest.fixture(scope="module")
def keys(service: Served) -> dict[str, str]:
    """A key of each role."""
    found = dict(service.keys)
    assert found.keys() == {"admin", "clinician"}
    with service.client(found["admin"]) as client:
        for role in ROLES:
            if role not in found:
                found[role] = client.post("/v1/keys", json={"role": role}).json()["key"]
    return found


def token(claims: dict[str, Any], key: Any = PRIVATE, algorithm: str = "EdDSA", **more: Any) -> str:
    then = datetime.now(UTC) + timedelta(minutes=more.pop("minutes", 5))
    return jwt.encode({"exp": then, **claims}, key, algorithm, **more)


MATRIX = {  # of the routes that there are: what viewer, clinician, admin and auditor get
    ("GET", "/openapi.json"): (200, 200, 200, 200),
    ("GET", "/docs"): (200, 200, 200, 200),
    ("GET", "/v1/caller"): (200, 200, 200, 200),
    ("GET", "/v1/model"): (200, 200, 200, 200),
    ("POST", "/v1/predict"): (403, 200, 403, 403),
    ("GET", "/v1/review"): (403, 200, 403, 403),
    ("POST", "/v1/review/{id}"): (403, 400, 403, 403),  # 400: allowed, but it has no body here
    ("GET", "/v1/predictions"): (200, 200, 403, 200),
    ("GET", "/v1/predictions/{id}"): (404, 404, 403, 404),
    ("GET", "/v1/predictions/{id}/image"): (403, 404, 403, 403),
    ("GET", "/v1/keys"): (403, 403, 200, 403),
    ("POST", "/v1/keys"): (403, 403, 400, 403),
    ("DELETE", "/v1/keys/{id}"): (403, 403, 404, 403),
    ("POST", "/v1/models/{version}/activate"): (403, 403, 404, 403),
    ("POST", "/v1/models/rollback"): (403, 403, 409, 403),
    ("GET", "/v1/audit"): (403, 403, 403, 200),
    ("GET", "/v1/audit/verify"): (403, 403, 403, 200),
    ("GET", "/v1/audit/export"): (403, 403, 403, 200),
    ("POST", "/v1/audit/study"): (403, 403, 403, 400),  # 400: allowed, but it has no body here
    ("GET", "/metrics"): (403, 403, 200, 200),
}


def asked(client: httpx.Client, method: str, route: str) -> httpx.Response:
    ident = "0" * (8 if "keys" in route else 32)
    path = route.replace("{id}", ident).replace("{version}", "99")
    files = form(GOOD) if route == "/v1/predict" else None
    return client.request(method, path, files=files)


@pytest.mark.parametrize(("method", "route"), MATRIX)
def test_each_role_may_do_what_the_table_says(
    service: Served, keys: dict[str, str], method: str, route: str
) -> None:
    with service.client() as nobody:
        answer = asked(nobody, method, route)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    for role, expected in zip(ROLES, MATRIX[method, route], strict=True):
        with service.client(keys[role]) as client:
            answer = asked(client, method, route)
        assert answer.status_code == expected, (role, answer.text)
        if expected == 403:
            assert answer.json()["code"] == "forbidden"
            last = audited(service)[-1]
            assert (last["role"], last["action"]) == (role, "denied")
            assert json.loads(last["output"]) == {"method": method, "route": route}
            assert last["request_id"] == answer.headers["x-request-id"]


def test_no_route_is_outside_the_table(service: Served, keys: dict[str, str]) -> None:
    with service.client(keys["viewer"]) as client:
        paths = client.get("/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path in paths for method in paths[path]}
    found = {one for one in found if one[1] not in PUBLIC}
    assert found <= ALLOWED.keys()
    assert found | {("GET", "/docs"), ("GET", "/openapi.json")} == MATRIX.keys()


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("clinician", f"/v1/review/{'0' * 32}"),
        ("admin", "/v1/keys"),
        ("auditor", "/v1/audit/study"),
    ],
)
def test_what_is_no_picture_has_a_small_body(
    service: Served, keys: dict[str, str], role: str, path: str
) -> None:
    given = {"Content-Type": "application/json"}
    with service.client(keys[role]) as client:
        for body in (bytes(70_000), (bytes(2**15) for _ in range(3))):  # with a length, in chunks
            answer = client.post(path, content=body, headers=given)
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert client.post(path, content=b" " * 65_000, headers=given).status_code == 400


def test_the_description_says_how_a_key_is_sent(service: Served, keys: dict[str, str]) -> None:
    with service.client(keys["viewer"]) as client:
        page = client.get("/docs").text
    assert '-H "Authorization: Bearer strided_..."' in page and f"{service.url}/v1/predict" in page


def test_what_says_nothing_is_open(service: Served) -> None:
    with service.client() as client:
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        assert client.get("/v1/nothing").status_code == 401
        assert client.post("/livez").status_code == 405


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Basic abc", "no_credentials"),
        ("Bearer", "no_credentials"),
        ("Bearer strided_00000000_" + "0" * 64, "unknown_key"),
        ("Bearer strided_", "unknown_key"),
        ("Bearer \xff\xfe", "bad_token"),
        (f"Bearer {token(CLAIMS, minutes=-1)}", "expired_token"),
        (f"Bearer {token(CLAIMS, None, 'none')}", "bad_token"),
        (f"Bearer {token({**CLAIMS, 'aud': 'other'})}", "bad_token"),
        (f"Bearer {token({**CLAIMS, 'iss': 'https://other.example.org'})}", "bad_token"),
        (f"Bearer {token({**CLAIMS, 'role': 'root'})}", "bad_token"),
        (f"Bearer {token({**CLAIMS, 'sub': '=cmd()'})}", "bad_token"),
        (f"Bearer {token({**CLAIMS, 'exp': None})}", "bad_token"),
        (f"Bearer {token(CLAIMS, Ed25519PrivateKey.generate())}", "bad_token"),
        (f"Bearer {jwt.encode(CLAIMS, PRIVATE, 'EdDSA')}", "bad_token"),  # without an end
    ],
)
def test_who_shows_nothing_that_counts_is_refused(
    service: Served, header: str, reason: str
) -> None:
    with service.client() as client:
        answer = client.get("/v1/model", headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code in (401, 429)
    engine = opened_to_read(place_of(str(service.state), "database"))
    failed = [row for row in rows(engine) if row["action"] == "login_failed"]
    engine.dispose()
    assert reason in {row["reasons"] for row in failed}
    assert all(json.loads(row["output"])["address"] == "127.0.0.1" for row in failed)


def test_a_public_key_is_no_secret_of_hs256(service: Served) -> None:
    def part(content: dict[str, Any]) -> bytes:
        return jwt.utils.base64url_encode(json.dumps(content).encode())

    import hmac

    then = int((datetime.now(UTC) + timedelta(minutes=5)).timestamp())
    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part({**CLAIMS, "exp": then})
    made = jwt.utils.base64url_encode(hmac.digest(PUBLIC_KEY, signed, "sha256"))
    with service.client((signed + b"." + made).decode()) as client:
        assert client.get("/v1/model").status_code in (401, 429)


def test_a_token_speaks_for_a_person(service: Served) -> None:
    with service.client(token(CLAIMS)) as client:
        assert client.get("/v1/audit/verify").json()["bad"] is None
    last = audited(service)[-1]
    assert (last["actor"], last["role"], last["action"]) == (
        "jwt:r.lee",
        "auditor",
        "audit_verified",
    )


def test_a_key_that_was_revoked_is_none(service: Served, keys: dict[str, str]) -> None:
    with service.client(keys["admin"]) as admin:
        made = admin.post("/v1/keys", json={"role": "viewer"}).json()
        with service.client(made["key"]) as viewer:
            assert viewer.get("/v1/model").status_code == 200
            assert admin.delete(f"/v1/keys/{made['id']}").json()["revoked"]
            assert viewer.get("/v1/model").status_code in (401, 429)
        again = admin.delete(f"/v1/keys/{made['id']}")
        assert (again.status_code, again.json()["code"]) == (404, "unknown_key")
        own = keys["admin"].split("_")[1]
        last = admin.delete(f"/v1/keys/{own}")
        assert (last.status_code, last.json()["code"]) == (409, "last_admin")
        known = admin.get("/v1/keys").text
    assert made["id"] in known and made["key"] not in known
    actions = [row["action"] for row in audited(service) if made["id"] in (row["output"] or "")]
    assert actions == ["key_made", "key_revoked"]


def test_a_prediction_is_in_the_audit_before_it_is_answered(
    service: Served, keys: dict[str, str]
) -> None:
    with service.client(keys["clinician"]) as client:
        answer = client.post("/v1/predict", files=form(GOOD, b"no picture", GOOD)).json()
    found = [row for row in audited(service) if row["request_id"] == answer["request_id"]]
    assert [row["action"] for row in found] == ["predict"] * 3
    first, damaged, second = found
    said = json.loads(first["output"])
    assert said["class"] == answer["results"][0]["class"]
    assert said["probabilities"] == answer["results"][0]["probabilities"]
    assert (first["route"], first["reasons"]) == ("review", "no_triage_policy")
    assert (first["model"], first["version"]) == ("digits", 1)
    assert first["sha256"] == answer["model"]["sha256"]
    assert first["actor"] == keys["clinician"].split("_")[1]
    assert first["input"] == second["input"] != damaged["input"]
    assert re.fullmatch("[0-9a-f]{64}", damaged["input"])
    assert json.loads(damaged["output"]) == {"error": "unsupported_format"}
    with service.client(keys["clinician"]) as client:  # also where no file has an answer
        refused = client.post("/v1/predict", files=form(b"no picture", b"no picture"))
    assert refused.json()["code"] == "unsupported_format"
    found = [row for row in audited(service) if row["request_id"] == refused.json()["request_id"]]
    assert [row["input"] for row in found] == [damaged["input"]] * 2
    assert [row["output"] for row in found] == [damaged["output"]] * 2


def test_an_auditor_finds_who_saw_what(service: Served, keys: dict[str, str]) -> None:
    with service.client(keys["clinician"]) as client:
        request_id = client.post("/v1/predict", files=form(GOOD)).json()["request_id"]
    study = next(row["object"] for row in audited(service) if row["request_id"] == request_id)
    with service.client(keys["auditor"]) as client:
        found = client.get("/v1/audit", params={"object": study, "limit": 3}).json()["rows"]
        assert found[0]["request_id"] == request_id
        older = client.get("/v1/audit", params={"before": 3}).json()["rows"]
        answers = client.get("/v1/audit", params={"action": "predict"}).json()["rows"]
        assert {row["action"] for row in answers} == {"predict"}
        assert [row["seq"] for row in older] == [2, 1]
        lines = client.get("/v1/audit/export", params={"format": "jsonl"}).text.splitlines()
        assert client.get("/v1/audit", params={"actor": "Jane Doe"}).status_code == 400
    exported = [json.loads(line) for line in lines]
    assert checked([{**dict.fromkeys(found[0]), **row} for row in exported]).bad is None
    assert exported[-1]["action"] == "audit_exported"
    asked_for = [row for row in exported if row["action"] == "audit_read"]
    assert json.loads(asked_for[-3]["output"])["object"] == study


def test_an_auditor_finds_a_study_by_its_uid(service: Served, keys: dict[str, str]) -> None:
    uid = "1.2.826.0.1.3680043.8.498.1"
    file = written(data_set(noise(8, 8), StudyInstanceUID=uid))
    with service.client(keys["clinician"]) as client:
        request_id = client.post("/v1/predict", files=form(file)).json()["request_id"]
    with service.client(keys["auditor"]) as client:
        named = client.post("/v1/audit/study", json={"uid": uid}).json()
        found = client.get("/v1/audit", params={**named, "action": "predict"}).json()["rows"]
        assert [row["request_id"] for row in found] == [request_id]
        refused = client.post("/v1/audit/study", json={"uid": "Jane Doe"})
        assert refused.status_code == 400 and "Jane" not in refused.text
        page = client.get("/static/audit.js").text  # which filters by each action
    assert all(f'"{row["action"]}"' in page for row in audited(service))
    assert uid.encode() not in (service.state / "service.sqlite-wal").read_bytes()


def test_no_key_is_kept(service: Served, keys: dict[str, str]) -> None:
    files = [file for place in (service.folder, service.state) for file in place.rglob("*")]
    content = b"".join(file.read_bytes() for file in files if file.is_file())
    for key in keys.values():
        assert key.encode() not in content and key.split("_")[2].encode() not in content
    assert (service.state / "hmac.key").stat().st_mode & 0o077 == 0
    assert (service.state / "service.sqlite").stat().st_mode & 0o077 == 0


def test_a_second_start_prints_no_keys_and_goes_on_with_the_chain(
    exported: Path, tmp_path: Path
) -> None:
    words = [f"state={tmp_path}/state", "access.enabled=true"]
    with served(exported, tmp_path, *words) as first:
        admin = first.keys["admin"]
        first.stop()
    with served(exported, tmp_path, *words) as second:
        assert second.keys == {}
        with second.client(admin) as client:
            assert client.get("/v1/keys").status_code == 200
        actions = [row["action"] for row in audited(second)]
    assert actions == ["started", "key_made", "key_made", "stopped", "started"]


def test_who_has_lost_the_last_admins_key_makes_another_on_the_machine(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "keys"
    with served(exported, tmp_path, "access.enabled=true") as service:
        assert main(["keys", f"database={service.state}", f"log_dir={logs}"]) == 0
        key = capsys.readouterr().out.split()[1]
        with service.client(key) as client:
            for _ in range(100):  # it reads the keys anew every five seconds
                if (answer := client.get("/v1/keys")).status_code == 200:
                    break
                time.sleep(0.2)
        known = answer.json()["keys"][-1]
        assert (known["id"], known["role"]) == (key.split("_")[1], "admin")
        (made,) = [row for row in audited(service) if key.split("_")[1] in (row["output"] or "")]
        assert (made["actor"], made["action"]) == (f"uid:{os.getuid()}", "key_made")
        assert service.predict(GOOD).status_code == 401  # and the chain goes on
    assert audited(service)[-1]["action"] == "login_failed"
    kept = b"".join(file.read_bytes() for file in logs.rglob("*") if file.is_file())
    assert kept and key.split("_")[2].encode() not in kept


def test_a_key_is_made_in_no_database_but_one_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", f"database={tmp_path}/none", f"log_dir={tmp_path}/logs"]) == 1
    assert "there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    theirs = (
        (CONF_DIR / "keys.yaml")
        .read_text()
        .replace("database: ???", "database: postgresql+pg8000://a@127.0.0.1:1/x")
    )
    (tmp_path / "theirs.yaml").write_text(theirs)
    words = ["--config-dir", str(tmp_path), "--config-name", "theirs", f"log_dir={tmp_path}/logs"]
    assert main(["keys", *words]) == 1  # their server would be given the password
    assert "database" in (said := capsys.readouterr().err) and "typed" in said


def test_more_requests_than_a_key_may_make_are_refused(exported: Path, tmp_path: Path) -> None:
    words = ["access.rate_per_minute=5", "access.metrics_public=true"]
    with served(exported, tmp_path, *words) as service:
        with service.client(service.keys["admin"]) as client:
            answers = [client.get("/v1/model") for _ in range(8)]
            assert [answer.status_code for answer in answers][:5] == [200] * 5
            refused = answers[-1]
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert refused.headers["retry-after"]
        with service.client() as client:
            codes = [client.get("/v1/model").status_code for _ in range(60)]
            assert codes[0] == 401 and codes[-1] == 429
            assert client.get("/metrics").status_code == 200
        with service.client(service.keys["clinician"]) as client:  # of the same address
            assert client.get("/v1/model").status_code == 200
        failed = [row for row in audited(service) if row["action"] == "login_failed"]
        assert 1 <= len(failed) <= 2  # two where a minute has ended meanwhile
        service.stop()
        failed = [row for row in audited(service) if row["action"] == "login_failed"]
        assert sum(json.loads(row["output"])["count"] for row in failed) == 60


def test_without_a_row_there_is_no_answer(exported: Path, tmp_path: Path) -> None:
    with served(exported, tmp_path, "access.enabled=true") as service:
        with service.client(service.keys["clinician"]) as client:
            assert client.post("/v1/predict", files=form(GOOD)).status_code == 200
            with closing(sqlite3.connect(service.state / "service.sqlite")) as other:
                other.execute("ALTER TABLE audit RENAME TO hidden")
                other.commit()
                answer = client.post("/v1/predict", files=form(GOOD))
                assert (answer.status_code, answer.json()["code"]) == (503, "not_recorded")
                assert client.get("/v1/keys").json()["code"] == "not_recorded"  # a denied access
                assert service.predict(GOOD).json()["code"] == "not_recorded"  # a failed log-in
                assert client.get("/readyz").json()["code"] == "not_recorded"
                other.execute("ALTER TABLE hidden RENAME TO audit")
                other.commit()
            while client.get("/readyz").status_code == 503:  # it tries again by itself
                time.sleep(0.1)
            gap = audited(service)[-1]
            assert gap["action"] == "not_recorded"
            assert json.loads(gap["output"])["since"] < gap["time"]
            assert client.post("/v1/predict", files=form(GOOD)).status_code == 200
        with service.client(service.keys["admin"]) as client:
            assert 'reason="not_recorded"' in client.get("/metrics").text
        service.stop()
        (failed,) = [row for row in audited(service) if row["action"] == "login_failed"]
        assert json.loads(failed["output"])["count"] == 1  # once it could be written
