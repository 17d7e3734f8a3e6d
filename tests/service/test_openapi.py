"""The OpenAPI document tells the truth: requests made from it, right and wrong, are answered so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode, checks
from schemathesis.core.result import Ok
from tests.load.processes import strided_server

TAKES_NOTHING = {"GET /livez", "GET /metrics", "GET /readyz", "GET /v1/model", "GET /v1/keys",
                 "GET /v1/caller", "GET /v1/audit/verify", "POST /v1/models/rollback"}  # fmt: skip
TAKES_SOMETHING = {"POST /v1/models/{version}/activate", "POST /v1/predict", "POST /v1/keys",
                   "DELETE /v1/keys/{id}", "GET /v1/audit", "GET /v1/audit/export",
                   "POST /v1/audit/study", "GET /v1/predictions", "GET /v1/predictions/{id}",
                   "GET /v1/predictions/{id}/image", "GET /v1/review",
                   "POST /v1/review/{id}"}  # fmt: skip


@pytest.fixture(scope="module")
def document(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    """The document of a service of digits, which answers anybody meanwhile; `served` has faults."""
    with strided_server(exported, tmp_path_factory.mktemp("openapi")) as server:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
        assert server.process.poll() is None, "the service has ended"


@pytest.mark.parametrize("mode", GenerationMode)
def test_answers_are_as_documented(document: BaseSchema, mode: GenerationMode) -> None:
    found = set()
    for result in document.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        found.add(operation.label)
        if mode is GenerationMode.POSITIVE or operation.label in TAKES_SOMETHING:
            ask(operation, mode)
    assert found == TAKES_NOTHING | TAKES_SOMETHING


def ask(operation: APIOperation, mode: GenerationMode) -> None:
    """Send requests of an operation: as its document says, or not."""
    # right by the document, and yet random bytes are no picture
    left_out: list[Any] = [checks.CHECKS.get_one("positive_data_acceptance")]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=25, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def asked(case: Case) -> None:
        case.call_and_validate(excluded_checks=left_out)

    asked()
