from tests.audit.conftest import audit, place, postgres  # noqa: F401
