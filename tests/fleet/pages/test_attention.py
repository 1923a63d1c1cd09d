"""Problems are on one page, grouped by the likeliest cause, and users can acknowledge them."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign
from fleet.attention import queries
from fleet.attention.keeping import keep_campaigns, recount
from fleet.choices import Inconsistency, ServiceStatus, Status
from fleet.models import Acknowledgement, AttentionFinding, Load, Tail, Transfer
from ifeportal.access import Role
from ifeportal.models import Airline, AuditEntry, Membership, User
from tests.conftest import Cast
from tests.support.page_rows import create_campaign, create_load, create_tail, now

pytestmark = pytest.mark.django_db


@pytest.fixture
def olive(cast: Cast) -> User:
    """An operator of ACME."""
    olive = User.objects.create_user("olive")
    Membership.objects.create(user=olive, airline=cast.acme, role=Role.OPERATOR)
    return olive


def browse(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, address: str = "/attention/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def failing(airline: Airline, *tails: str, content: str = "movie-002", error: str = "<b>broken</b>") -> list[Load]:
    """Create loads of one campaign with one failed item each."""
    campaign = airline.campaigns.first() or create_campaign(airline)
    loads = [create_load(create_tail(airline, tail), campaign) for tail in tails]
    for load in loads:
        Transfer.objects.filter(load=load, content=content).update(
            status=Status.FAILED, error=error, listed=True, error_etag="e"
        )
        Load.objects.filter(pk=load.pk).update(status=Status.FAILED, error=error, error_content=content)
    recount(Airline.objects.all())
    return loads


def acknowledge(client: Client, *loads: Load, word: str = "failed", **form: Any) -> Any:
    return client.post(
        "/attention/acknowledgement/",
        {"load": [load.pk for load in loads], "word": word, "note": "Ticket 12", **form},
        follow=True,
    )


def test_an_item_that_fails_everywhere_is_one_cause_with_the_next_step(cast: Cast) -> None:
    failing(cast.acme, "N1", "N2", "N3")
    page = text(browse(cast.alice))
    assert "movie-002 of 2026-12 fails on 3 tails" in page
    assert "Fix the content once" in page
    assert "&lt;b&gt;broken&lt;/b&gt;" in page
    assert "<b>broken</b>" not in page


def test_the_empty_page_states_that_no_load_needs_attention(cast: Cast) -> None:
    create_load(create_tail(cast.acme, "N1"), create_campaign(cast.acme), "complete")
    assert "Nothing needs attention" in text(browse(cast.alice))


def test_others_see_nothing_of_it(cast: Cast) -> None:
    failing(cast.acme, "N1")
    for user in (cast.bob, cast.nick):
        assert "Nothing needs attention" in text(browse(user))
        assert "movie-002" not in text(browse(user), "/attention/?airline=ACME")


@pytest.mark.parametrize(
    ("word", "fields", "of_the_tail"),
    [
        ("stalled", {"status": Status.LOADING, "stalled": True}, {}),
        ("silent", {"status": Status.LOADING, "silent": True}, {"silent": True}),
        ("at risk", {"status": Status.LOADING, "at_risk": True}, {}),
        ("contradiction", {"status": Status.LOADING, "contradiction": Inconsistency.OVERSIZED}, {}),
    ],
)
def test_flags_of_loading_loads_need_attention(
    cast: Cast, word: str, fields: dict[str, Any], of_the_tail: dict[str, Any]
) -> None:
    load = create_load(create_tail(cast.acme, "N1"), create_campaign(cast.acme))
    Load.objects.filter(pk=load.pk).update(**fields)
    Tail.objects.filter(pk=load.tail_id).update(**of_the_tail)
    assert recount(Airline.objects.all()) == {"ACME": 1}
    assert AttentionFinding.objects.get().reason == word
    assert queries.needing_attention(Load.objects.filter(queries.REASONS[word])).count() == 1
    assert f'data-kind="{word}"' in text(browse(cast.alice))


def test_a_load_at_risk_is_explained_by_its_slower_rate(cast: Cast) -> None:
    """By the current rate alone it would be complete long before: that is not why it is at risk."""
    load = create_load(create_tail(cast.acme, "N1"), create_campaign(cast.acme))
    left = (load.bytes_total or 0) - load.bytes_done
    Load.objects.filter(pk=load.pk).update(
        status=Status.LOADING, at_risk=True, rate_bps=left // 60, effective_bps=left // (90 * 86_400)
    )
    recount(Airline.objects.all())
    page = text(browse(cast.alice))
    assert "At the observed rates, this load completes by" in page
    assert "left at the current rate" not in page


@pytest.mark.parametrize("duty", [ServiceStatus.STORED, ServiceStatus.RETIRED])
def test_tails_out_of_service_and_archived_loads_are_left_alone(cast: Cast, duty: ServiceStatus) -> None:
    out, archived = failing(cast.acme, "N1", "N2")
    Tail.objects.filter(pk=out.tail_id).update(duty=duty)
    Load.objects.filter(pk=archived.pk).update(archived_at=now())
    recount(Airline.objects.all())
    assert queries.open_count(AttentionFinding.objects.all()) == 0
    assert "Nothing needs attention" in text(browse(cast.alice))


def test_an_acknowledgement_shows_its_user_and_lasts_until_the_error_changes(cast: Cast, olive: User) -> None:
    load, other = failing(cast.acme, "N1", "N2")
    client = browse(olive)
    assert "Acknowledged 2 of 2 loads." in acknowledge(client, load, other).content.decode()
    assert "Nothing needs attention" in text(client)
    assert queries.open_count(AttentionFinding.objects.all()) == 0
    acknowledged_page = text(client, "/attention/?acknowledged=1")
    assert "<b>olive</b>" in acknowledged_page
    assert "Ticket 12" in acknowledged_page
    Load.objects.filter(pk=load.pk).update(error_code="NO_SPACE")
    recount(Airline.objects.all())
    assert queries.open_count(AttentionFinding.objects.all()) == 1
    assert "Unacknowledged" in text(client)
    assert set(AuditEntry.objects.values_list("action", "who", "target")) == {
        ("load.acknowledged", "olive", "2026-12 on N1"),
        ("load.acknowledged", "olive", "2026-12 on N2"),
    }


def test_an_acknowledgement_can_be_taken_back(cast: Cast, olive: User) -> None:
    [load] = failing(cast.acme, "N1")
    client = browse(olive)
    acknowledge(client, load)
    assert "Withdrew 1 of 1 acknowledgement." in acknowledge(client, load, withdraw="1").content.decode()
    assert queries.open_count(AttentionFinding.objects.all()) == 1
    assert Acknowledgement.objects.get().withdrawn_at is not None


def test_a_problem_that_is_resolved_meanwhile_is_reported_and_not_acknowledged(cast: Cast, olive: User) -> None:
    load, healed = failing(cast.acme, "N1", "N2")
    Load.objects.filter(pk=healed.pk).update(status=Status.PENDING)
    assert (
        "Acknowledged 1 of 2 loads. 1 no longer needed attention."
        in acknowledge(browse(olive), load, healed).content.decode()
    )


def test_without_a_note_nothing_is_acknowledged(cast: Cast, olive: User) -> None:
    [load] = failing(cast.acme, "N1")
    assert "Enter a note" in acknowledge(browse(olive), load, note=" \0 ").content.decode()
    assert not Acknowledgement.objects.exists()


def test_a_viewer_may_look_but_not_acknowledge_and_a_stranger_finds_nothing(cast: Cast, olive: User) -> None:
    [load] = failing(cast.acme, "N1")
    Membership.objects.filter(user=cast.alice).update(role=Role.VIEWER)
    assert acknowledge(browse(cast.alice), load).status_code == 403
    assert acknowledge(browse(cast.bob), load).status_code == 404
    assert 'name="note"' not in text(browse(cast.alice))
    assert 'name="note"' in text(browse(olive))
    [foreign] = failing(cast.beta, "B1")
    assert acknowledge(browse(olive), load, foreign).status_code == 404
    assert not Acknowledgement.objects.exists()


def test_a_wrong_word_or_no_load_is_not_found(cast: Cast, olive: User) -> None:
    [load] = failing(cast.acme, "N1")
    client = browse(olive)
    assert acknowledge(client, load, word="nonsense").status_code == 404
    assert client.post("/attention/acknowledgement/", {"word": "failed", "load": "²"}).status_code == 404
    assert client.get("/attention/acknowledgement/").status_code == 405


def test_the_list_is_filtered_by_airline_cause_and_text(cast: Cast) -> None:
    failing(cast.acme, "N-1", "N-2")
    failing(cast.beta, "B-1", content="movie-004", error="HASH")
    client = browse(cast.olga)
    assert ">N-1<" in text(client)
    assert ">B-1<" in text(client)
    assert ">B-1<" not in text(client, "/attention/?airline=ACME")
    assert ">N-1<" not in text(client, "/attention/?q=movie-004")
    assert "No matching loads" in text(client, "/attention/?kind=silent")


def test_the_file_has_a_line_for_each_fault_and_no_formula(cast: Cast) -> None:
    failing(cast.acme, "N1", "N2", error="=cmd()")
    answer = browse(cast.alice).get("/attention/?export=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))  # type: ignore[attr-defined]
    assert [(row["tail"], row["content"], row["cause"]) for row in rows] == [
        ("N1", "movie-002", "object"),
        ("N2", "movie-002", "object"),
    ]
    assert not any(row["error"].startswith("=") for row in rows)


def test_the_number_of_queries_does_not_grow_with_what_is_wrong(cast: Cast) -> None:
    client = browse(cast.alice)
    failing(cast.acme, "N1")
    with CaptureQueriesContext(
        connection,
    ) as few:
        text(client)
    failing(cast.acme, *(f"M{number}" for number in range(20)))
    Tail.objects.update(heard_at=now() - timedelta(days=3), silent=True)
    recount(Airline.objects.all())
    with CaptureQueriesContext(connection) as many:
        text(client)
    assert len(many) <= len(few)


@pytest.mark.parametrize(("code", "left"), [("OBJECT_GONE", 0), ("UNSIGNED", 0), ("NO_SPACE", 1)])
def test_failures_of_a_withdrawn_campaign_need_no_attention(cast: Cast, code: str, left: int) -> None:
    failing(cast.acme, "N1")
    Transfer.objects.filter(status=Status.FAILED).update(error_code=code)
    Load.objects.update(error_code=code)
    recount(Airline.objects.all())
    assert queries.open_count(AttentionFinding.objects.all()) == 1
    Campaign.objects.update(withdrawn_at=now())
    keep_campaigns(cast.acme.pk, Campaign.objects.values_list("pk", flat=True))
    assert recount(Airline.objects.all()) == {}
    assert queries.open_count(AttentionFinding.objects.all()) == left
    assert ("1 open load in 1 cause" in text(browse(cast.alice))) is bool(left)


def test_a_cause_shows_its_first_loads_and_all_of_them_on_a_page_of_its_own(cast: Cast, olive: User) -> None:
    failing(cast.acme, *(f"N{number}" for number in range(7)))
    client = browse(olive)
    page = text(client)
    assert page.count('data-word="failed"') == 5
    assert page.count('name="load"') == 7, "the form acknowledges all of them"
    assert "Show all 7 loads" in page
    [cause] = set(AttentionFinding.objects.values_list("cause", flat=True))
    assert f"cause={cause}" in page
    whole = text(client, f"/attention/?cause={cause}")
    assert whole.count('data-word="failed"') == 7
    assert "Show all" not in whole
    assert "No matching loads" in text(client, "/attention/?cause=gone")


def test_the_page_takes_at_most_twelve_statements(cast: Cast) -> None:
    failing(cast.acme, "N1", "N2")
    client = browse(cast.olga)
    text(client)
    with CaptureQueriesContext(connection) as captured:
        text(client)
    assert len(captured) <= 12
