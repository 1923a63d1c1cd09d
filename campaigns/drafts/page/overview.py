"""Campaigns on the first page of the admin: drafts in work, and published ones that end, each with its next step."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final

from django.contrib import admin
from django.db.models import Case, Count, IntegerField, Q, Value, When
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from campaigns.drafts.page.problems import general_faults
from campaigns.drafts.totals import DraftTotals, totals_by_draft
from campaigns.models import BUSY_STATES, Draft, DraftState
from ifeportal import formatting
from ifeportal.admin import overview
from ifeportal.admin.overview import Entry, Link, Section

SHOWN: Final = 8  # campaigns; the list has the others
ENDING_WITHIN: Final = timedelta(days=7)  # a published campaign whose last day is so near is shown
FINISHED: Final = (DraftState.PUBLISHED, DraftState.WITHDRAWN)
SHAPES: Final = {DraftState.EDITING: "pending", DraftState.READY: "waiting", DraftState.FAILED: "failed"}
HOW_TO_START: Final = "To start one, choose its airline and name the folder of the media bucket that has its content."
BUSY_TEXTS: Final = {
    DraftState.SCANNING: "A job is scanning the bucket.",
    DraftState.HASHING: "A job is hashing the items.",
    DraftState.PUBLISHING: "A job is publishing it.",
    DraftState.WITHDRAWING: "A job is withdrawing it.",
}


def next_step(draft: Draft, totals: DraftTotals, today: date) -> tuple[str, str]:
    """Return what happens next with a draft, and the verb of its button. Pure."""
    if draft.state in BUSY_TEXTS:
        return BUSY_TEXTS[DraftState(draft.state)], "Follow"
    if draft.state == DraftState.PUBLISHED and draft.exhibition_ends is not None:
        return _ending(draft.exhibition_ends, today)
    if draft.state == DraftState.FAILED or draft.error:
        return f"{draft.error or 'The last step failed.'}"[:200], "Fix"
    if draft.state == DraftState.READY:
        return "Every item is hashed. Publish it.", "Publish"
    if draft.scanned_at is None:
        return "Scan the bucket for its items.", "Continue"
    if totals.to_hash:
        return f"Calculate the hashes of {formatting.quantity(totals.to_hash, 'item')}.", "Continue"
    return _problems(draft, totals)


def _problems(draft: Draft, totals: DraftTotals) -> tuple[str, str]:
    items = [f"Items with problems: {totals.problems:,}."] if totals.problems else []
    problems = " ".join([*general_faults(draft), *items])[:200]
    return (problems, "Fix") if problems else ("Upload or include its items.", "Continue")


def _ending(ends: date, today: date) -> tuple[str, str]:
    days = (ends - today).days
    if days < 0:
        return (
            f"Its last day was {formatting.quantity(-days, 'day')} ago. Withdraw it, or extend its dates.",
            "Withdraw",
        )
    when = "today" if days == 0 else f"in {formatting.quantity(days, 'day')}"
    return f"Its last day is {when}.", "Open"


def in_work(today: date) -> Q:
    """Return the condition of drafts that the first page shows."""
    ending = Q(state=DraftState.PUBLISHED, exhibition_ends__lte=today + ENDING_WITHIN)
    return ~Q(state__in=FINISHED) | ending


def section(request: HttpRequest) -> Section | None:
    """Return the campaigns of the user that need work; None without access to drafts. Three statements."""
    its = admin.site.get_model_admin(Draft)
    if not its.has_view_permission(request):
        return None
    today = timezone.now().date()
    drafts, listing = its.get_queryset(request), reverse("admin:campaigns_draft_changelist")
    found = _ranked(drafts.filter(in_work(today)).select_related("airline", "operation"), today)[: SHOWN + 1]
    rows, counts = list(found), _counts(drafts, today)
    totals = totals_by_draft(rows)
    may_add, may_change = its.has_add_permission(request), its.has_change_permission(request)
    return Section(
        title="Campaigns in work",
        empty=f"No campaign is in work. {HOW_TO_START}" if may_add else "No campaign is in work.",
        entries=[_entry(draft, totals[draft.pk], today, may_change=may_change) for draft in rows[:SHOWN]],
        counts=[
            overview.Count("Failed", counts["failed"], f"{listing}?state__exact=failed", problem=True),
            overview.Count("Ready to publish", counts["ready"], f"{listing}?state__exact=ready"),
            overview.Count("A job is working", counts["busy"]),
            overview.Count("Incomplete", counts["editing"], f"{listing}?state__exact=editing"),
            overview.Count("Published", counts["published"], f"{listing}?state__exact=published"),
        ],
        actions=[Link("New campaign", reverse("admin:campaigns_draft_add"))] if may_add else [],
        more=Link("All campaigns", listing) if counts["all"] else None,
        wide=True,
    )


def _counts(drafts: Any, today: date) -> dict[str, int]:
    counts: dict[str, int] = drafts.order_by().aggregate(
        all=Count("pk"),
        busy=Count("pk", filter=Q(state__in=BUSY_STATES)),
        **{
            state.value: Count("pk", filter=Q(state=state))
            for state in (DraftState.FAILED, DraftState.READY, DraftState.EDITING, DraftState.PUBLISHED)
        },
    )
    return counts


def _ranked(drafts: Any, today: date) -> Any:
    """Order drafts: failed, ended, ready, incomplete, ending, and last those that a job works on."""
    ranks = (
        Q(state=DraftState.FAILED),
        Q(state=DraftState.PUBLISHED, exhibition_ends__lt=today),
        Q(state=DraftState.READY),
        Q(state=DraftState.EDITING),
        Q(state=DraftState.PUBLISHED),
    )
    cases = [When(condition, then=Value(rank)) for rank, condition in enumerate(ranks)]
    rank = Case(*cases, default=Value(len(ranks)), output_field=IntegerField())
    return drafts.alias(rank=rank).order_by("rank", "exhibition_starts", "pk")


def _entry(draft: Draft, totals: DraftTotals, today: date, *, may_change: bool) -> Entry:
    page = reverse("admin:campaigns_draft_change", args=[draft.pk])
    detail, verb = next_step(draft, totals, today)
    target = reverse("admin:campaigns_draft_withdraw", args=[draft.pk]) if verb == "Withdraw" else page
    state, shape = draft.get_state_display(), SHAPES.get(DraftState(draft.state), "loading")
    if draft.state == DraftState.PUBLISHED:
        ended = draft.exhibition_ends is not None and draft.exhibition_ends < today
        state, shape = ("Ended, still published" if ended else "Ends soon"), "at_risk"
    return Entry(
        title=f"{draft} {draft.title}".strip(),
        address=page,
        state=state,
        shape=shape,
        detail=detail,
        actions=[Link(verb, target) if may_change else Link("Open", page)],
    )
