"""What the page of a draft and its confirmations show. Reads rows only, in a fixed number of queries."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import Count
from django.urls import reverse

from campaigns.drafts.filters import ShowFilter
from campaigns.drafts.page import history, problems, steps, texts
from campaigns.drafts.page.changes import draft_changes
from campaigns.drafts.totals import DraftTotals, draft_totals
from campaigns.models import Campaign, Draft, DraftState
from ifeportal import formatting

INLINE_LIMIT: Final = 100  # items on the page of a draft; more are shown only in the paginated list
HASHING_SHOWN: Final = 5  # items in progress that the page names
NAMES_SHOWN: Final = 20  # items that a confirmation names for each kind of change
TAILS_SHOWN: Final = 10


def workflow_context(draft: Draft, now: datetime) -> dict[str, Any]:
    """Return the part of the page that changes while people and jobs work on the draft."""
    totals = draft_totals(draft)
    general = problems.general_problems(draft)
    count = totals.problems + len(general)
    facts = steps.DraftFacts(draft, totals, count, history.done_by(draft), settings.MEDIA_BUCKET)
    many = totals.found > INLINE_LIMIT
    step = steps.next_step(facts)
    listed = [*general, *(problems.item_problems(draft, on_page=not many) if totals.problems else [])]
    return {
        "draft": draft,
        "now": now,
        "totals": totals,
        "bucket": settings.MEDIA_BUCKET,
        "steps": steps.workflow(facts),
        "next": step,
        "other_actions": steps.other_actions(facts, step.action),
        "progress": texts.work_progress(draft, totals, now),
        "hashing_items": _hashing_items(draft),
        "problems": listed,
        "problems_more": count - len(listed),
        "faulty_address": problems.items_address(draft, show="fault"),
        "items_address": problems.items_address(draft),
        "revision": f"{texts.revision(draft)}-{'' if many else totals.items_done}",
        "many": many,
        "campaign_page": _campaign_page(draft),
    }


def _hashing_items(draft: Draft) -> list[str]:
    if draft.state != DraftState.HASHING:
        return []
    items = draft.items.filter(hash_pending=True).exclude(hashed_bytes=0, error="")[:HASHING_SHOWN]
    return [texts.item_hashing_text(item) for item in items]


def page_context(draft: Draft, now: datetime) -> dict[str, Any]:
    """Return everything that the page of a draft shows besides its form."""
    context = workflow_context(draft, now)
    return context | {
        "manifest": texts.manifest_text(draft),
        "changes": texts.changes_text(draft, context["totals"]),
        "history": history.history(history.read_entries(draft)),
        "item_counts": item_counts(draft) if context["many"] else [],
    }


def item_counts(draft: Draft) -> list[tuple[str, str, int]]:
    """Return (address of the list, label, number) of the items in each state that has any."""
    counts = draft.items.aggregate(**{key: Count("pk", filter=rows) for key, (_, rows) in ShowFilter.rows.items()})
    return [
        (problems.items_address(draft, show=key), label, counts[key])
        for key, (label, _) in ShowFilter.rows.items()
        if counts[key]
    ]


def publish_context(draft: Draft, now: datetime) -> dict[str, Any]:
    """Return what the confirmation of a publication shows."""
    totals = draft_totals(draft)
    changes = draft_changes(draft)
    kinds = [
        ("Added", changes.added),
        ("Removed", changes.removed),
        ("Replaced by other bytes", changes.replaced),
        ("Title, kind, required or priority changed", changes.edited),
    ]
    kinds = [(label, names) for label, names in kinds if names]
    return {
        **_confirmation(draft, totals, now),
        "changes": changes,
        "kinds": [(label, names[:NAMES_SHOWN], len(names), len(names) - NAMES_SHOWN) for label, names in kinds],
        "exhibition": steps.exhibition_text(draft.exhibition_starts, draft.exhibition_ends),
        "version": _next_version(draft),
        "keys": len(settings.SIGNING_KEYS),
        "expires": draft.extra.get("expires"),
    }


def withdraw_context(draft: Draft, now: datetime) -> dict[str, Any]:
    """Return what the confirmations of a withdrawal and of a deletion show."""
    return _confirmation(draft, draft_totals(draft), now)


def _confirmation(draft: Draft, totals: DraftTotals, now: datetime) -> dict[str, Any]:
    return {
        "draft": draft,
        "now": now,
        "totals": totals,
        "manifest": texts.manifest_text(draft),
        "revision": texts.revision(draft),
        "bucket": settings.MEDIA_BUCKET,
        "only_tails": _only_tails(draft),
    }


def _only_tails(draft: Draft) -> str:
    """Return the tails that the manifest restricts the campaign to; empty if it does not."""
    tails = draft.extra.get("tails")
    if not isinstance(tails, list):
        return ""
    more = f" and {formatting.count(len(tails) - TAILS_SHOWN)} more" if len(tails) > TAILS_SHOWN else ""
    return ", ".join(str(tail) for tail in tails[:TAILS_SHOWN]) + more


def _next_version(draft: Draft) -> int:
    """Return the version that publishing will write, unless the bucket has a higher one by then."""
    known = Campaign.objects.filter(airline=draft.airline, name=draft.name).values_list("version", flat=True).first()
    return max(draft.version or 0, known or 0) + 1


def _campaign_page(draft: Draft) -> str:
    """Return the address of the campaign in the portal; of its airline until the poller has found the campaign."""
    found = Campaign.objects.filter(airline=draft.airline, name=draft.name).first()
    return found.get_absolute_url() if found else reverse("airline", args=[draft.airline.name])
