"""The activity page: rows, filters, files, empty states, and the forms that cancel and retry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ifeportal.operations.models import Operation, OperationState
from tests.conftest import Cast
from tests.support.html import page_html, page_text
from tests.support.operation_rows import chores, create_operation

pytestmark = pytest.mark.django_db
PAGE = "/activity/"
HOSTILE = "<script>alert('hm')</script>\"><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def kind() -> Iterator[None]:
    with chores():
        yield


def shown(client: Client, query: str = "") -> list[str]:
    """Return the titles on the page."""
    cells = re.findall(r'<th role="rowheader"[^>]*>(.*?)<div', page_html(client.get(f"{PAGE}{query}")))
    return [re.sub("<[^>]+>", "", cell) for cell in cells]


def test_a_row_shows_progress_rate_time_left_stage_and_who_requested_it(cast: Cast, client: Client) -> None:
    create_operation(cast.acme, cast.mona, title="Film <1>")
    client.force_login(cast.alice)
    text = page_text(client.get(PAGE))
    for part in (
        "Film <1>",
        "Chore · ACME",
        "half",
        "copying",
        "40%",
        "41.9 MB",
        "104 MB",
        "4.19 MB/s",
        "15 s",
        "by mona",
    ):
        assert part in text
    assert "1 operation not finished." in text
    assert 'value="40"' in page_html(client.get(PAGE))


def test_a_failed_row_shows_its_error_and_what_to_do(cast: Cast, client: Client) -> None:
    create_operation(cast.acme, state="failed", error_code="NO_SPACE", error="The store is full.", advice="Free space.")
    client.force_login(cast.alice)
    text = page_text(client.get(PAGE))
    assert "NO_SPACE The store is full. Free space." in text


def test_a_queued_row_shows_its_position_and_what_it_waits_for(cast: Cast, client: Client) -> None:
    create_operation(cast.beta, state="queued")
    create_operation(cast.acme, state="queued", waiting_for="Waits for 3 GB of space.")
    client.force_login(cast.alice)
    text = page_text(client.get(PAGE))
    assert "Position in the queue: 2" in text
    assert "Waits for 3 GB of space." in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["theirs", "failed", "mine"]),
        ("?sort=title", ["failed", "mine", "theirs"]),
        ("?sort=-title", ["theirs", "mine", "failed"]),
        ("?mine=1", ["mine"]),
        ("?status=open", ["theirs", "mine"]),
        ("?status=failed", ["failed"]),
        ("?status=half", ["theirs", "mine"]),
        ("?kind=chore&airline=BETA", ["theirs"]),
        ("?q=mona", ["failed"]),
        ("?q=THE", ["theirs"]),
        ("?q=nothing", []),
        ("?status=colour&kind=unknown&sort=shoe", ["theirs", "failed", "mine"]),
    ],
)
def test_the_page_is_filtered_and_ordered(cast: Cast, client: Client, query: str, expected: list[str]) -> None:
    now = timezone.now()
    create_operation(cast.acme, cast.olga, title="mine", created_at=now - timedelta(minutes=3))
    create_operation(cast.acme, cast.mona, title="failed", state="failed", created_at=now - timedelta(minutes=2))
    create_operation(cast.beta, cast.bruno, title="theirs", created_at=now)
    client.force_login(cast.olga)
    assert shown(client, query) == expected


def test_members_see_the_operations_of_their_airlines(cast: Cast, client: Client) -> None:
    create_operation(cast.acme, title="ours")
    create_operation(cast.beta, title="theirs")
    for user, expected in ((cast.alice, ["ours"]), (cast.bob, ["theirs"]), (cast.nick, [])):
        client.force_login(user)
        assert shown(client) == expected


def test_an_empty_page_explains_itself(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    assert "No operations yet" in page_text(client.get(PAGE))
    assert "No matching operations" in page_text(client.get(f"{PAGE}?status=failed"))


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_rows_can_be_had_as_a_file(cast: Cast, client: Client, kind: str) -> None:
    row = create_operation(cast.acme, cast.mona)
    create_operation(cast.acme, title="other", state="failed")
    client.force_login(cast.alice)
    answer = client.get(f"{PAGE}?status=open&export={kind}")
    text = b"".join(answer.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    assert str(row.uuid) in text
    assert "other" not in text
    if kind == "json":
        rows = json.loads(text)
        found = rows["rows"][0] if isinstance(rows, dict) else rows[0]
        assert (found["percent"], found["user"], found["state"]) == (40, "mona", "running")


def test_the_page_takes_as_many_statements_for_sixty_rows_as_for_three(cast: Cast, client: Client) -> None:
    client.force_login(cast.olga)

    def statements() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"{PAGE}?size=100").status_code == 200
        return [query["sql"][:120] for query in queries]

    for state in ("queued", "running", "failed"):
        create_operation(cast.acme, cast.mona, state=state)
    few = statements()
    for number in range(57):
        create_operation(cast.acme, cast.mona, state=OperationState.values[number % 7])
    assert statements() == few
    assert len(few) <= 10


def test_hostile_text_is_shown_as_text(cast: Cast, client: Client) -> None:
    create_operation(
        cast.acme, title=HOSTILE, stage=HOSTILE[:40], error=HOSTILE, error_code=HOSTILE[:40], advice=HOSTILE,
        waiting_for=HOSTILE, kind=HOSTILE[:40], state="queued",
    )  # fmt: skip
    client.force_login(cast.olga)
    page = page_html(client.get(f"{PAGE}?q=%3Cscript%3E"))
    assert "<script>alert" not in page
    assert "<img" not in page


def test_the_header_counts_what_is_not_finished(cast: Cast, client: Client) -> None:
    for state in ("running", "queued", "failed"):
        create_operation(cast.acme, state=state)
    create_operation(cast.beta)
    client.force_login(cast.alice)
    assert "Activity 2 not finished" in re.sub(r"\s+", " ", page_text(client.get("/account/")))


# Forms


@pytest.mark.parametrize(("who", "forms"), [("alice", 0), ("otto", 2), ("mona", 2), ("olga", 2)])
def test_the_forms_are_shown_to_those_with_the_role(cast: Cast, client: Client, who: str, forms: int) -> None:
    create_operation(cast.acme)
    client.force_login(getattr(cast, who))
    assert page_html(client.get(PAGE)).count("data-in-place") == forms


def test_an_operation_is_cancelled_and_retried_from_the_page(cast: Cast, client: Client) -> None:
    row = create_operation(cast.acme, title="Film")
    client.force_login(cast.otto)
    answer = client.post(f"{PAGE}{row.uuid}/cancel/", {"query": "status=open&page=2&next=//evil"})
    assert answer["Location"] == "/activity/?status=open&page=2"
    assert "Cancelling “Film”" in page_text(client.get(PAGE))
    Operation.objects.update(state="cancelled", cancel_requested_at=None)
    assert client.post(f"{PAGE}{row.uuid}/retry/")["Location"] == PAGE
    assert "“Film” is queued again." in page_text(client.get(PAGE))
    assert Operation.objects.get().state == "queued"


def test_what_is_not_possible_is_said_on_the_page(cast: Cast, client: Client) -> None:
    row = create_operation(cast.acme, state="succeeded")
    client.force_login(cast.otto)
    client.post(f"{PAGE}{row.uuid}/cancel/")
    assert "The operation has already ended." in page_text(client.get(PAGE))
