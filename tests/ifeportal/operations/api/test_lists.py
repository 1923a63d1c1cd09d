"""The list of operations and one operation in the API: fields, filters, order, positions, and who sees what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from ifeportal.accounts.tokens import create_token
from ifeportal.models import User
from ifeportal.operations.models import Lane, Operation, OperationState
from ifeportal.operations.serialization import operation_state
from tests.conftest import Cast
from tests.support.api_fleet import ClientOf
from tests.support.operation_rows import MEBIBYTE, create_operation

pytestmark = pytest.mark.django_db
LIST = "/api/v1/operations/"
NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
# CONTRACT 9.
COMMON = {
    *("id", "kind", "airline", "user", "title", "status", "stage", "bytes_done", "bytes_total", "percent", "rate_bps"),
    *("eta_seconds", "position", "waiting_for", "error_code", "error", "advice", "created_at", "started_at"),
    *("finished_at", "expires_at", "as_of"),
}


def titles(client: APIClient, **query: Any) -> list[str]:
    answer = client.get(LIST, query)
    assert answer.status_code == 200, answer.content
    return [row["title"] for row in answer.json()["results"]]


def test_an_operation_has_the_fields_of_every_kind(cast: Cast, client_of: ClientOf) -> None:
    row = create_operation(cast.acme, cast.mona)
    state = client_of(cast.alice).get(f"{LIST}{row.uuid}/").json()
    assert state.keys() >= COMMON
    assert (state["id"], state["airline"], state["user"]) == (str(row.uuid), "ACME", "mona")
    assert (state["status"], state["state"], state["percent"], state["eta_seconds"]) == ("half", "running", 40, 15)
    assert client_of(cast.alice).get(LIST).json()["results"] == [state]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"bytes_done": 100 * MEBIBYTE}, 99),
        ({"bytes_done": 100 * MEBIBYTE, "state": "succeeded"}, 100),
        ({"bytes_done": 0, "bytes_total": 0}, 0),
        ({"bytes_done": 0, "bytes_total": 0, "state": "succeeded"}, 100),
        ({"bytes_total": None}, None),
        ({"bytes_done": 7 * MEBIBYTE, "state": "failed"}, 7),
    ],
)
def test_the_percentage_is_100_only_at_the_end(cast: Cast, columns: dict[str, Any], expected: int | None) -> None:
    assert operation_state(create_operation(cast.acme, **columns))["percent"] == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"state": "running"}, (4 * MEBIBYTE, 15)),
        ({"state": "waiting", "next_try_at": NOON + timedelta(seconds=3)}, (4 * MEBIBYTE, 15)),
        ({"state": "waiting", "next_try_at": NOON + timedelta(minutes=1)}, (None, None)),
        ({"state": "waiting", "next_try_at": NOON + timedelta(seconds=3), "attempts": 1}, (None, None)),
        ({"state": "queued"}, (None, None)),
    ],
)
def test_the_rate_is_shown_while_it_is_current(cast: Cast, columns: dict[str, Any], expected: tuple[Any, Any]) -> None:
    state = operation_state(create_operation(cast.acme, rate_bps=4 * MEBIBYTE, updated_at=NOON, **columns))
    assert (state["rate_bps"], state["eta_seconds"]) == expected


def test_the_stage_is_not_shown_after_the_last_one(cast: Cast) -> None:
    stages = {state: create_operation(cast.acme, stage="placing", state=state) for state in ("succeeded", "failed")}
    shown = {state: operation_state(row)["stage"] for state, row in stages.items()}
    assert shown == {"succeeded": "", "failed": "placing"}


@pytest.mark.parametrize(
    ("columns", "can_cancel", "can_retry"),
    [
        ({"state": "queued"}, True, False),
        ({"state": "running", "cancel_requested_at": "2026-12-01T12:00Z"}, False, False),
        ({"state": "failed"}, False, False),
        ({"state": "failed", "can_retry": True}, False, True),
        ({"state": "cancelled"}, False, True),
        ({"state": "expired"}, False, True),
        ({"state": "succeeded"}, False, False),
        ({"state": "queued", "kind": "unknown"}, False, False),
        ({"state": "cancelled", "kind": "unknown"}, False, False),
    ],
)
def test_a_row_says_what_can_be_done(cast: Cast, columns: dict[str, Any], can_cancel: bool, can_retry: bool) -> None:
    state = operation_state(create_operation(cast.acme, **columns))
    assert (state["can_cancel"], state["can_retry"]) == (can_cancel, can_retry)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["theirs", "done", "queued", "running"]),
        ({"mine": "true"}, ["queued"]),
        ({"mine": "false"}, ["theirs", "done", "running"]),
        ({"airline": "BETA"}, ["theirs"]),
        ({"status": "open"}, ["theirs", "queued", "running"]),
        ({"status": ["queued", "succeeded"]}, ["done", "queued"]),
        ({"status": "half"}, ["theirs", "running"]),
        ({"kind": "chore"}, ["theirs", "done", "queued", "running"]),
        ({"user": "mona"}, ["running"]),
        ({"q": "don"}, ["done"]),
        ({"q": "mona"}, ["running"]),
        ({"ordering": "title"}, ["done", "queued", "running", "theirs"]),
        ({"ordering": "-bytes_total,title"}, ["queued", "running", "theirs", "done"]),
        ({"paging": "cursor"}, ["theirs", "done", "queued", "running"]),
    ],
)
def test_a_list_is_filtered_and_ordered(cast: Cast, client_of: ClientOf, query: Any, expected: list[str]) -> None:
    create_operation(cast.acme, cast.mona, title="running")
    create_operation(cast.acme, cast.olga, title="queued", state="queued", bytes_done=0)
    create_operation(cast.acme, title="done", state="succeeded", bytes_done=1, bytes_total=1)
    create_operation(cast.beta, cast.bruno, title="theirs")
    assert titles(client_of(cast.olga), **query) == expected


@pytest.mark.parametrize(
    "query", [{"status": "colour"}, {"kind": "x"}, {"mine": "1"}, {"ordering": "lane"}, {"page_size": "0"}]
)
def test_a_bad_parameter_is_a_problem(cast: Cast, client_of: ClientOf, query: dict[str, str]) -> None:
    answer = client_of(cast.alice).get(LIST, query)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert list(answer.json()["errors"]) == list(query)


def test_positions_count_the_whole_queue(cast: Cast, client_of: ClientOf) -> None:
    first = create_operation(cast.beta, state="queued", priority=1)
    last = create_operation(cast.acme, state="queued", lane=Lane.DELETION)
    second = create_operation(cast.acme, state="queued")
    create_operation(cast.acme, state="running")
    client = client_of(cast.alice)
    found = {row["id"]: row["position"] for row in client.get(LIST).json()["results"]}
    assert [found.get(str(row.uuid)) for row in (first, second, last)] == [None, 2, 3]
    assert client.get(f"{LIST}{last.uuid}/").json()["position"] == 3
    assert sorted(map(str, found.values())) == ["2", "3", "None"]


def test_a_list_takes_as_many_statements_for_sixty_rows_as_for_three(cast: Cast, client_of: ClientOf) -> None:
    client = client_of(cast.olga)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get(LIST)
        return len(queries)

    for state in ("queued", "running", "failed"):
        create_operation(cast.acme, cast.mona, state=state)
    few = count()
    for number in range(57):
        create_operation(cast.acme, cast.mona, state=OperationState.values[number % 7])
    assert count() == few


@pytest.mark.parametrize(
    ("who", "expected"), [("alice", 200), ("otto", 200), ("olga", 200), ("bob", 404), ("nick", 404)]
)
def test_an_operation_of_another_airline_is_not_found(cast: Cast, client_of: ClientOf, who: str, expected: int) -> None:
    row = create_operation(cast.acme, cast.mona)
    client = client_of(getattr(cast, who))
    for path in (f"{LIST}{row.uuid}/", f"{LIST}{row.uuid}/events/"):
        assert client.get(path).status_code == expected
    assert len(titles(client)) == (expected == 200)


def test_a_token_for_one_airline_sees_only_its_operations(cast: Cast) -> None:
    client, rows = APIClient(), [create_operation(airline) for airline in (cast.acme, cast.beta)]
    _, key = create_token(cast.olga, "x", days=1, airline=cast.beta, may_write=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    assert [client.get(f"{LIST}{row.uuid}/").status_code for row in rows] == [404, 200]
    assert [client.post(f"{LIST}{row.uuid}/cancel/").status_code for row in rows] == [404, 202]


def test_an_unchanged_operation_is_not_sent_again(cast: Cast, client_of: ClientOf) -> None:
    row, client = create_operation(cast.acme), client_of(cast.alice)
    path = f"{LIST}{row.uuid}/"
    tag = client.get(path)["ETag"]
    assert client.get(path, HTTP_IF_NONE_MATCH=tag).status_code == 304
    Operation.objects.filter(pk=row.pk).update(bytes_done=MEBIBYTE)
    assert client.get(path, HTTP_IF_NONE_MATCH=tag).status_code == 200


# Cancel and retry

ROLES = {"alice": 403, "otto": 202, "mona": 202, "olga": 202, "bob": 404, "bruno": 404, "nick": 404}


@pytest.mark.parametrize("who", ROLES)
@pytest.mark.parametrize(("verb", "state"), [("cancel", "running"), ("retry", "failed")])
def test_the_role_of_the_kind_decides_who_may_act(
    cast: Cast, client_of: ClientOf, who: str, verb: str, state: str
) -> None:
    row = create_operation(cast.acme, state=state, can_retry=True)
    user: User = getattr(cast, who)
    answer = client_of(user).post(f"{LIST}{row.uuid}/{verb}/")
    assert answer.status_code == ROLES[who]
    if answer.status_code == 202:
        assert answer.json()["can_cancel"] == (verb == "retry")
        assert answer.json()["position"] == (1 if verb == "retry" else None)
    else:
        assert answer["Content-Type"] == "application/problem+json"
        assert Operation.objects.get().state == state


def test_a_read_only_token_may_not_act(cast: Cast) -> None:
    row, client = create_operation(cast.acme), APIClient()
    _, key = create_token(cast.mona, "x", days=1, airline=None, may_write=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    assert client.get(f"{LIST}{row.uuid}/").status_code == 200
    assert client.post(f"{LIST}{row.uuid}/cancel/").status_code == 403


@pytest.mark.parametrize(("verb", "state"), [("cancel", "running"), ("retry", "failed")])
def test_a_request_can_be_repeated(cast: Cast, client_of: ClientOf, verb: str, state: str) -> None:
    row, client = create_operation(cast.acme, state=state, can_retry=True), client_of(cast.otto)
    first, second = (client.post(f"{LIST}{row.uuid}/{verb}/") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["as_of"] == second.json()["as_of"]


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_what_is_not_possible_is_a_conflict_with_a_sentence(cast: Cast, client_of: ClientOf, verb: str) -> None:
    row = create_operation(cast.acme, state="succeeded")
    answer = client_of(cast.otto).post(f"{LIST}{row.uuid}/{verb}/")
    assert answer.status_code == 409
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].endswith(".")


def test_an_operation_of_an_unknown_kind_is_shown_but_cannot_be_changed(cast: Cast, client_of: ClientOf) -> None:
    row, client = create_operation(cast.acme, kind="forgotten"), client_of(cast.mona)
    assert client.get(f"{LIST}{row.uuid}/").json()["status"] == "running"
    assert client.post(f"{LIST}{row.uuid}/cancel/").status_code == 409
