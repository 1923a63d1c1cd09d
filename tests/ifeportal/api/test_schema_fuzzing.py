"""The complete schema with schemathesis: every response is documented, and none reveals foreign data.

The requests are the same in every run, in this process, without a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cache
from typing import Any

import pytest
import schemathesis
from django.core.cache import cache as counts
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ifeportal.access import Role
from ifeportal.accounts.tokens import create_token
from ifeportal.models import Airline, User
from tests.conftest import Cast
from tests.support.populated_airlines import PopulatedAirline, populate_airline

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# The others are named after their model, in singular or plural.
LISTS = {
    "acknowledgements": "acknowledgement",
    "audit": "entry",
    "content": "item",
    "events": "event",
    "library": "library_item",
}  # the other paths are named like their rows, or their plural
EXAMPLES = settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def holdings(cast: Cast) -> tuple[PopulatedAirline, PopulatedAirline]:
    counts.clear()
    Airline.objects.all().delete()
    acme = populate_airline(Airline(name="ACME"), members={cast.alice: Role.MANAGER}, first_id=4_100_000_000_000)
    beta = populate_airline(Airline(name="BETA"), members={cast.bob: Role.MANAGER}, first_id=8_700_000_000_000)
    return acme, beta


@pytest.fixture(autouse=True)
def _keep_connection_open() -> Iterator[None]:
    """Keep the test's database connection, which a server would close after each request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def schema(cast: Cast) -> Any:
    return schemathesis.openapi.from_wsgi("/api/schema/?format=json", application, headers=shown(cast.ada))


@cache
def portal() -> WSGIHandler:
    return get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer each request in a savepoint: after a value that PostgreSQL rejects, a transaction accepts nothing more."""
    with transaction.atomic():
        with closing(portal()(environ, start_response)) as answer:
            body = list(answer)
        transaction.set_rollback(True)
    return body


def shown(user: User | None) -> dict[str, str]:
    """Return the headers of a program with a token of that user."""
    if user is None:
        return {}
    _, key = create_token(user, "test", days=1, airline=None, may_write=True)
    return {"Authorization": f"Bearer {key}"}


def id_in(holding: PopulatedAirline, path: str) -> int | str:
    """Return the id of the airline's row in the list of that path."""
    name = path.split("/")[3]
    row = getattr(holding, LISTS.get(name, name.removesuffix("s") if name != "anomalies" else "anomaly"))
    if name in ("operations", "uploads"):
        return str(row.uuid if name == "operations" else row.operation.uuid)
    return int(row.pk)


def cases(operation: Any, holdings: tuple[PopulatedAirline, PopulatedAirline]) -> Iterator[Any]:
    """Generate requests to an operation: valid and invalid by the schema, and to one row of each airline."""
    yield operation.as_strategy()
    yield operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    if "{id}" in operation.path:
        for holding in holdings:
            yield operation.as_strategy(path_parameters={"id": id_in(holding, operation.path)})


@pytest.mark.slow("sends hundreds of generated requests")
@pytest.mark.parametrize("who", ["olga", "alice", None])
def test_every_response_matches_the_schema_and_contains_no_foreign_data(
    cast: Cast, holdings: tuple[PopulatedAirline, PopulatedAirline], schema: Any, who: str | None
) -> None:
    headers = shown(getattr(cast, who) if who else None)
    foreign = {"olga": (), "alice": holdings[1].marks, None: (*holdings[0].marks, *holdings[1].marks)}[who]
    asked: list[int] = []

    for operation in (result.ok() for result in schema.get_all_operations()):

        @EXAMPLES
        @given(case=st.one_of(*cases(operation, holdings)))
        def holds(case: Any) -> None:
            answer = case.call_and_validate(headers=headers, checks=CHECKS)
            asked.append(answer.status_code)
            text = answer.content.decode(errors="replace").replace(case.formatted_path, "").lower()
            for mark in foreign:
                assert mark.lower() not in text, f"{case.method} {case.formatted_path} shows {mark}"

        holds()
    assert len(asked) > 80
    if who is None:
        assert 401 in asked
        assert min(asked) >= 400
    else:
        assert {200, 404} < set(asked)
