"""The campaign page at an earlier time: what it shows, what it marks as unknown, and its links."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from fleet.choices import ServiceStatus
from fleet.models import Event, Load, ProgressSample, Tail
from fleet.pages.campaign import history
from tests.conftest import Cast
from tests.support.html import page_html, page_text
from tests.support.page_rows import GB, create_campaign, create_load, create_tail, now

PAGE = "/airlines/ACME/campaigns/2026-12/"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def moment(cast: Cast) -> datetime:
    """VP-A was a quarter done five hours ago with a failed item; it is complete today."""
    load = create_load(create_tail(cast.acme, "VP-A"), create_campaign(cast.acme, items=2), "complete")
    moment = now() - timedelta(hours=5)
    Load.objects.filter(pk=load.pk).update(started_at=moment - timedelta(hours=1), finished_at=now())
    Event.objects.create(load=load, at=moment - timedelta(hours=1), state="loading", bytes_done=0, bytes_total=GB)
    Event.objects.create(load=load, content="movie-001", at=moment, state="failed", bytes_done=7, error_code="NO_SPACE")
    ProgressSample.objects.create(load=load, at=moment, bytes_done=GB // 4)
    return moment


def asked(moment: datetime) -> str:
    return f"{PAGE}?at={history.format_time(moment)}"


def test_the_page_shows_the_past_state_and_that_it_is_not_live(cast: Cast, alice: Client, moment: datetime) -> None:
    answer = alice.get(asked(moment + timedelta(minutes=1)))
    page = page_text(answer)
    assert f"Showing the campaign as of {moment + timedelta(minutes=1):%Y-%m-%d %H:%M}:00 UTC" in page
    assert "Show the current state" in page
    assert "VP-A loading 25%" in page
    assert "250 MB of 1.00 GB" in page
    assert "movie-001 The Long Way Up 0 of 1 Loading 0 Failing on 1" in page
    assert "<live-page" not in page_html(answer)
    assert f'href="{PAGE}"' in page_html(answer)
    assert f"matrix/?at={history.format_time(moment + timedelta(minutes=1)).replace(':', '%3A')}" in page_html(answer)


def test_unknown_parts_of_the_past_state_are_reported(cast: Cast, alice: Client, moment: datetime) -> None:
    page = page_text(alice.get(asked(moment - timedelta(days=9))))
    assert "Little is known of this time" in page
    assert "Not started on any tail" in page


def test_tails_out_of_service_today_are_left_out(cast: Cast, alice: Client, moment: datetime) -> None:
    Tail.objects.update(duty=ServiceStatus.STORED)
    assert "VP-A" not in page_text(alice.get(asked(moment + timedelta(minutes=1))))


@pytest.mark.parametrize("at", ["nonsense", "2999-01-01T00:00Z", "2026-13-01", "%00", "9" * 60])
def test_an_invalid_time_shows_the_present_with_a_notice(cast: Cast, alice: Client, moment: datetime, at: str) -> None:
    answer = alice.get(f"{PAGE}?at={at}")
    assert "Showing the current state" in page_text(answer)
    assert "<live-page" in page_html(answer)


def test_rows_are_narrowed_ordered_and_paged_by_the_address(cast: Cast, alice: Client, moment: datetime) -> None:
    at = asked(moment + timedelta(minutes=1))
    assert "VP-A loading" in page_text(alice.get(f"{at}&state=loading&q=vp-&sort=-bytes&page=9"))
    assert "VP-A loading" not in page_text(alice.get(f"{at}&state=failed"))
    assert "VP-A loading" not in page_text(alice.get(f"{at}&q=zeppelin"))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T11:00Z", NOON - timedelta(hours=1)),
        ("2026-11-20T11:00", NOON - timedelta(hours=1)),
        ("2026-11-20T13:00+02:00", NOON - timedelta(hours=1)),
        ("2026-11-20", NOON - timedelta(hours=12)),
        ("2026-11-20T12:00Z", None),
        ("2026-11-20T13:00Z", None),
        ("1812-01-01", None),
        ("0001-01-01T00:00+14:00", None),
        ("", None),
        ("x" * 1000, None),
    ],
)
def test_a_moment_is_read_as_utc_and_only_from_the_past(text: str, moment: datetime | None) -> None:
    assert history.parse_time(text, NOON) == moment


def test_navigation_steps_by_hours_and_days_but_not_into_the_future() -> None:
    labels = [step.label for step in history.steps(NOON - timedelta(hours=2), NOON)]
    assert labels == ["1 day earlier", "1 hour earlier", "1 hour later"]
    assert history.steps(NOON, NOON + timedelta(days=9))[0].at == "2026-11-19T12:00Z"


def test_hostile_names_and_errors_of_that_time_are_shown_as_text(cast: Cast, alice: Client, moment: datetime) -> None:
    hostile = "<script>alert(1)</script>"
    Tail.objects.update(name=hostile.replace("/", ""))
    Event.objects.filter(content="").update(state="failed", error_code="<b>", text=hostile)
    page = page_html(alice.get(asked(moment + timedelta(minutes=1))))
    assert "<script>alert" not in page
    assert "<b>&lt;" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
