"""Campaigns on the first page of the admin: which are shown, in which order, and the next step of each."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from campaigns.drafts.page.overview import next_step
from campaigns.drafts.totals import DraftTotals
from campaigns.models import Draft, DraftState
from ifeportal.operations.models import Operation
from tests.conftest import Cast

TODAY = date(2026, 12, 10)


@pytest.mark.parametrize(
    ("fields", "totals", "verb", "text"),
    [
        ({}, {}, "Continue", "Scan the bucket for its items."),
        ({"scanned_at": timezone.now()}, {}, "Continue", "Upload or include its items."),
        ({"scanned_at": timezone.now()}, {"to_hash": 2}, "Continue", "Calculate the hashes of 2 items."),
        (
            {"faults": ["The first day is missing."], "scanned_at": timezone.now()},
            {"problems": 2},
            "Fix",
            "Items with problems: 2.",
        ),
        ({"state": "ready"}, {}, "Publish", "Publish it."),
        (
            {"state": "failed", "operation": Operation(error="The bucket denied access.")},
            {},
            "Fix",
            "The bucket denied access.",
        ),
        ({"state": "failed"}, {}, "Fix", "The last step failed."),
        ({"state": "looking"}, {}, "Follow", "A job is scanning the bucket."),
        ({"state": "publishing", "operation": Operation(error="TIMEOUT")}, {}, "Follow", "A job is publishing it."),
        ({"state": "withdrawing"}, {}, "Follow", "A job is withdrawing it."),
        ({"state": "published", "exhibition_ends": date(2026, 12, 9)}, {}, "Withdraw", "1 day ago"),
        ({"state": "published", "exhibition_ends": TODAY}, {}, "Open", "Its last day is today."),
        ({"state": "published", "exhibition_ends": date(2026, 12, 12)}, {}, "Open", "in 2 days"),
    ],
)
def test_each_state_has_a_next_step(fields: dict[str, Any], totals: dict[str, int], verb: str, text: str) -> None:
    sentence, button = next_step(Draft(name="2026-12", **fields), DraftTotals(**totals), TODAY)
    assert (button, text in sentence) == (verb, True), sentence


@pytest.mark.django_db
def test_failed_and_ended_campaigns_come_first_and_finished_ones_are_left_out(cast: Cast, client: Any) -> None:
    today = timezone.now().date()
    rows: dict[str, dict[str, Any]] = {
        "c-published": {"state": DraftState.PUBLISHED, "exhibition_ends": today + timedelta(days=60)},
        "c-withdrawn": {"state": DraftState.WITHDRAWN},
        "c-hashing": {"state": DraftState.HASHING},
        "c-ending": {"state": DraftState.PUBLISHED, "exhibition_ends": today + timedelta(days=2)},
        "c-new": {},
        "c-ready": {"state": DraftState.READY},
        "c-ended": {"state": DraftState.PUBLISHED, "exhibition_ends": today - timedelta(days=1)},
        "c-failed": {"state": DraftState.FAILED},
    }
    for name, fields in rows.items():
        Draft.objects.create(airline=cast.acme, name=name, **fields)
    Draft.objects.create(airline=cast.beta, name="c-foreign")
    client.force_login(cast.mona)
    section = next(each for each in client.get("/admin/").context["sections"] if each.title == "Campaigns in work")
    names = [entry.title.removeprefix("ACME/") for entry in section.entries]
    assert names == ["c-failed", "c-ended", "c-ready", "c-new", "c-ending", "c-hashing"]
    assert {count.label: count.number for count in section.counts}["Published"] == 3
