"""The list of drafts in the admin: where each stands and what is next, and requests for several drafts at once."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns.drafts import requests
from campaigns.drafts.filters import ExhibitionFilter
from campaigns.drafts.page import texts
from campaigns.drafts.page.problems import general_faults
from campaigns.drafts.page.steps import DraftFacts, exhibition_text, next_step
from campaigns.drafts.totals import DraftTotals, draft_totals, totals_by_draft
from campaigns.models import Draft
from ifeportal import formatting
from ifeportal.admin.base import ManagerAdmin
from ifeportal.audit import Actor
from ifeportal.operations.requests import RequestRejected

LABELS: Final = {"look": "Scan", "hash": "Hash", "check": "Validate", "publish": "Publish"}


def listed_totals(draft: Draft) -> DraftTotals:
    """Return the totals that the list read for all its drafts at once."""
    found = draft.__dict__.get("listed_totals")
    return found if isinstance(found, DraftTotals) else draft_totals(draft)


class DraftChangeList(ChangeList):
    """Reads the totals of the drafts on the page in one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        for draft, totals in zip(self.result_list, _totals_of(self.result_list), strict=True):
            draft.__dict__["listed_totals"] = totals


def _totals_of(drafts: list[Draft]) -> list[DraftTotals]:
    totals = totals_by_draft(drafts)
    return [totals[draft.pk] for draft in drafts]


class DraftListAdmin(ManagerAdmin[Draft]):
    """Columns, filters and actions of the list of drafts."""

    task = "Campaigns"
    is_main_list = True
    about = "Each campaign is prepared as a draft. Aircraft see nothing until you publish it."
    empty = "A draft describes a campaign and the items that aircraft load."
    list_display = ["campaign", "airline", "state_text", "next_text", "period", "items_text", "progress", "updated"]
    list_filter = ["state", ExhibitionFilter, "airline"]
    list_select_related = ["airline", "operation__user"]
    search_fields = ["name", "title", "airline__name", "airline__title", "operation__error"]
    date_hierarchy = "exhibition_starts"
    actions = ["scan_drafts", "hash_drafts", "validate_drafts", "publish_drafts"]
    change_list_template = "admin/campaigns/draft/change_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DraftChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list; without any draft, how to make the first one."""
        context = {
            "title": "Campaigns",
            "no_drafts": not self.get_queryset(request).exists(),
            "bucket": settings.MEDIA_BUCKET,
        }
        return super().changelist_view(request, context | (extra_context or {}))

    @admin.display(description="campaign", ordering="name")
    def campaign(self, draft: Draft) -> SafeString:
        return format_html("{}<span class='draft-title'>{}</span>", draft.name, draft.title)

    @admin.display(description="state", ordering="state")
    def state_text(self, draft: Draft) -> SafeString:
        text = f"{draft.get_state_display()}: {draft.error_code}" if draft.error_code else draft.get_state_display()
        return format_html('<span class="draft-state" data-draft-state="{}">{}</span>', draft.state, text)

    @admin.display(description="next step")
    def next_text(self, draft: Draft) -> str:
        """Return the next step; the error, of a draft whose job failed."""
        if draft.error and not draft.busy:
            return f"{draft.error[:200]} {draft.advice[:200]}".strip()
        totals = listed_totals(draft)
        problems = totals.problems + len(general_faults(draft))
        step = next_step(DraftFacts(draft, totals, problems, {}, settings.MEDIA_BUCKET))
        return step.title if draft.busy or not step.action or step.action.word == "open" else step.action.label

    @admin.display(description="exhibition", ordering="exhibition_starts")
    def period(self, draft: Draft) -> str:
        return exhibition_text(draft.exhibition_starts, draft.exhibition_ends) or formatting.NONE

    @admin.display(description="items")
    def items_text(self, draft: Draft) -> str:
        totals = listed_totals(draft)
        return f"{totals.items:,}, {formatting.size(totals.bytes_total)}" if totals.items else formatting.NONE

    @admin.display(description="hashed")
    def progress(self, draft: Draft) -> SafeString | str:
        totals = listed_totals(draft)
        if not totals.items:
            return formatting.NONE
        return format_html(
            '<span><progress max="100" value="{}" aria-label="hashed of {}"></progress> {}%</span>',
            totals.percent,
            draft,
            totals.percent,
        )

    @admin.display(
        description="updated",
        ordering=Greatest(F("created_at"), *(F(name) for name in ("edited_at", "operation__updated_at", "scanned_at"))),
    )
    def updated(self, draft: Draft) -> SafeString:
        then = texts.updated_at(draft)
        age = formatting.age(then, timezone.now())
        return format_html('<span title="{}">{}</span>', formatting.instant(then), age)

    # Requests.

    def _request(self, request: HttpRequest, draft: Draft, word: str) -> bool:
        """Make a request, log who made it, and show the result. Return whether it was accepted."""
        try:
            message = requests.REQUESTS[word](draft, Actor.of(request))
        except RequestRejected as error:
            self.message_user(request, f"{draft}: {error}", messages.WARNING)
            return False
        if word != "check":
            self.log_change(request, draft, word)
        self.message_user(request, f"{draft}: {message}", messages.SUCCESS)
        return True

    # Several at once.

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        # A draft is deleted on its own page, which says what is deleted.
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def _request_all(self, request: HttpRequest, drafts: QuerySet[Draft], word: str) -> None:
        """Make the same request for each draft, with a message for each and one for all."""
        accepted = sum([self._request(request, draft, word) for draft in drafts.select_related("airline")])
        self.message_user(request, f"{LABELS[word]}: {accepted} accepted, {len(drafts) - accepted} rejected.")

    @admin.action(description="Scan bucket", permissions=["change"])
    def scan_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> None:
        self._request_all(request, drafts, "look")

    @admin.action(description="Hash items that are not hashed", permissions=["change"])
    def hash_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> None:
        self._request_all(request, drafts, "hash")

    @admin.action(description="Validate", permissions=["change"])
    def validate_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> None:
        self._request_all(request, drafts, "check")

    @admin.action(description="Publish…", permissions=["change"])
    def publish_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> HttpResponse | None:
        """Show what would be published; publish when that is confirmed."""
        if "confirmed" in request.POST:
            self._request_all(request, drafts, "publish")
            return None
        chosen = list(drafts.select_related("airline"))
        rows = [(draft, totals, texts.changes_text(draft, totals)) for draft, totals in _with_totals(chosen)]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Publish {formatting.quantity(len(rows), 'campaign')}?",
            "opts": self.opts,
            "rows": rows,
            "publishable": sum(not (draft.busy or draft.faults or draft.faulty_items) for draft in chosen),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "is_signed": bool(settings.SIGNING_KEYS),
        }
        return render(request, "admin/campaigns/draft/publish_selected.html", context)


def _with_totals(drafts: list[Draft]) -> list[tuple[Draft, DraftTotals]]:
    return list(zip(drafts, _totals_of(drafts), strict=True))
