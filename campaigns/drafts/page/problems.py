"""The problems of a draft, each with its field or item on the page. Reads rows only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse

from campaigns.drafts.validation import NO_ITEMS, NOT_SCANNED, REFUSED, date_errors
from campaigns.models import TO_HASH, Draft, DraftItem

SHOWN: Final = 10  # items with problems that the summary names
STEPS: Final = (NOT_SCANNED, NO_ITEMS)  # said by the steps of the workflow
FIELDS: Final = {"title": "title", "exhibition": "exhibition_ends"}  # fields of the form, by field of the manifest
LABELS: Final = {"title": "Title", "exhibition_ends": "Last day"}


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem: `where` names its field or item, `address` is a link to it; `field` is empty for items."""

    where: str
    text: str
    address: str
    field: str = ""


def general_faults(draft: Draft) -> list[str]:
    """Return the problems of the draft itself, without what the steps of the workflow say anyway."""
    return [fault for fault in draft.faults if fault not in STEPS]


def general_problems(draft: Draft) -> list[Problem]:
    """Return the problems of the draft itself, each with its field."""
    of_dates = date_errors(draft.exhibition_starts, draft.exhibition_ends)
    return [_general(fault, of_dates) for fault in general_faults(draft)]


def _general(fault: str, of_dates: list[str]) -> Problem:
    word = fault.removeprefix(REFUSED).split(":")[0].split(".")[0] if fault.startswith(REFUSED) else ""
    field = "exhibition_ends" if fault in of_dates else FIELDS.get(word, "")
    return Problem(LABELS.get(field, "Campaign"), fault, f"#id_{field}" if field else "#items", field)


def faulty_items(draft: Draft) -> QuerySet[DraftItem]:
    """Return the items with problems, without those that only wait to be hashed."""
    return draft.items.exclude(error_text="").exclude(error_text__in=TO_HASH).order_by("position", "name")


def item_problems(draft: Draft, *, on_page: bool) -> list[Problem]:
    """Return the problems of the first items that have any. `on_page`: the page lists the items."""
    return [
        Problem(item.name, item.error_text, f"#item-{item.pk}" if on_page else items_address(draft, q=item.name))
        for item in faulty_items(draft)[:SHOWN]
    ]


def items_address(draft: Draft, **filters: str) -> str:
    """Return the address of the list of the draft's items."""
    return f"{reverse('admin:campaigns_draftitem_changelist')}?{urlencode({'draft__id__exact': draft.pk, **filters})}"
