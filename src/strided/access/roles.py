"""Who may do what: what is not in the table is allowed to nobody."""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["viewer", "clinician", "admin", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)
_ALL = frozenset(ROLES)
_SEES = frozenset[Role](("viewer", "clinician", "auditor"))
_DECIDES = frozenset[Role](("clinician",))
_RUNS = frozenset[Role](("admin",))
_EXAMINES = frozenset[Role](("auditor",))

# without a key: they say nothing of a patient, a key or a model
PUBLIC = frozenset(("/", "/livez", "/readyz"))
PUBLIC_FOLDER = "/static/"
METRICS = "/metrics"

ALLOWED: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", "/openapi.json"): _ALL,
    ("GET", "/docs"): _ALL,
    ("GET", "/v1/caller"): _ALL,
    ("GET", "/v1/model"): _ALL,
    ("POST", "/v1/predict"): _DECIDES,
    ("GET", "/v1/review"): _DECIDES,
    ("POST", "/v1/review/{id}"): _DECIDES,
    ("GET", "/v1/predictions"): _SEES,
    ("GET", "/v1/predictions/{id}"): _SEES,
    ("GET", "/v1/predictions/{id}/image"): _DECIDES,
    ("GET", "/v1/keys"): _RUNS,
    ("POST", "/v1/keys"): _RUNS,
    ("DELETE", "/v1/keys/{id}"): _RUNS,
    ("POST", "/v1/models/{version}/activate"): _RUNS,
    ("POST", "/v1/models/rollback"): _RUNS,
    ("GET", "/v1/audit"): _EXAMINES,
    ("GET", "/v1/audit/verify"): _EXAMINES,
    ("GET", "/v1/audit/export"): _EXAMINES,
    ("POST", "/v1/audit/study"): _EXAMINES,
    ("GET", METRICS): _RUNS | _EXAMINES,
}


@dataclass(frozen=True)
class Caller:
    """Who asks: the id of a key, or whom a token speaks for."""

    id: str
    role: str


ANYBODY = Caller("anybody", "any")  # of a service without access control
NOBODY = Caller("nobody", "none")  # who has shown no valid key
ITSELF = Caller("service", "service")


def is_allowed(caller: Caller, method: str, route: str) -> bool:
    """Whether a caller may use a method of a route, as the OpenAPI document names it."""
    return caller == ANYBODY or caller.role in ALLOWED.get((method, route), ())
