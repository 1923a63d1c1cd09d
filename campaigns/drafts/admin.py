"""Drafts in the admin, where campaigns are edited and published. A request only writes rows; jobs work on the bucket.

For staff by Django's permissions and for the managers of an airline, who see and choose their own airlines only.
"""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.text import capfirst

from campaigns.drafts import requests, summary
from campaigns.drafts.filters import ExhibitionFilter
from campaigns.drafts.forms import DRAFT_FIELDS, ITEM_FIELDS, DraftForm
from campaigns.drafts.item_admin import DraftItemInline, draft_page, row_id
from campaigns.drafts.requests import RequestRejected
from campaigns.drafts.totals import draft_totals
from campaigns.models import BUSY_STATES, Campaign, Draft, DraftItem
from ifeportal.admin.base import ManagerAdmin
from ifeportal.audit import Actor

INLINE_LIMIT: Final = 100  # items on the page of a draft; more are shown only in the paginated list
HASHING_SHOWN: Final = 5  # items in progress that the page names
MANAGERS_ONLY: Final = "That is for managers of the airline."


@admin.register(Draft)
class DraftAdmin(ManagerAdmin[Draft]):
    """Drafts of campaigns, what a job does with them, and what became of it."""

    form = DraftForm
    list_display = ["name", "airline", "title", "exhibition_starts", "state_text", "version", "published_at", "errors"]
    list_filter = ["state", ExhibitionFilter, "airline"]
    list_select_related = ["airline"]
    search_fields = ["name", "title", "airline__name", "airline__title", "error"]
    date_hierarchy = "exhibition_starts"
    actions = ["scan_drafts", "hash_drafts", "validate_drafts", "publish_drafts"]
    change_form_template = "admin/campaigns/draft/change_form.html"

    @admin.display(description="airline")
    def airline_name(self, draft: Draft) -> str:
        """Without a link, which managers could not follow."""
        return str(draft.airline)

    @admin.display(description="state", ordering="state")
    def state_text(self, draft: Draft) -> str:
        """In a word, and the last error."""
        return f"{draft.get_state_display()}: {draft.error_code}" if draft.error_code else draft.get_state_display()

    @admin.display(description="what is wrong", ordering="faulty_items")
    def errors(self, draft: Draft) -> str:
        """The first fault, or how many items have one."""
        if draft.error:
            return draft.error[:200]
        items = [f"{draft.faulty_items:,} items have a fault."] if draft.faulty_items else []
        return " ".join([*draft.faults, *items])[:200]

    # The form.

    def get_readonly_fields(self, request: HttpRequest, obj: Draft | None = None) -> tuple[str, ...]:
        """The name once it is given; everything while a job works on it."""
        if obj is None:
            return ()
        return ("airline_name", "name", *DRAFT_FIELDS) if obj.busy else ("airline_name", "name")

    def get_fields(self, request: HttpRequest, obj: Draft | None = None) -> tuple[str, ...]:
        """What people say of a campaign as a whole."""
        return ("airline_name" if obj else "airline", "name", *DRAFT_FIELDS)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A draft of a campaign that is there already begins with its title and dates."""
        given: dict[str, Any] = super().get_changeform_initial_data(request)
        mine = Campaign.objects.visible_to(request.user)
        known = mine.filter(airline__pk=row_id(given.get("airline")), name=given.get("name", "")).first()
        if known:
            given |= {"title": known.title, "exhibition_starts": known.exhibition_starts}
            given["exhibition_ends"] = known.exhibition_ends
        return given

    def get_inlines(self, request: HttpRequest, obj: Draft | None) -> list[type[Any]]:
        """The items, if there are some and not too many."""
        count = obj.items.all()[: INLINE_LIMIT + 1].count() if obj else 0
        return [DraftItemInline] if 0 < count <= INLINE_LIMIT else []

    def save_model(self, request: HttpRequest, obj: Draft, form: Any, change: bool) -> None:
        """Only what was changed, and only while no job works on it."""
        if not change:
            obj.save()
            return
        said = {name: form.cleaned_data[name] for name in form.changed_data}
        if said and not Draft.objects.filter(pk=obj.pk).idle().update(**said):
            self.message_user(request, "A job began to work on it: nothing was saved.", messages.WARNING)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """The same of items."""
        formset.save(commit=False)
        resting = DraftItem.objects.exclude(draft__state__in=BUSY_STATES)
        for each in formset.forms:
            if each.has_changed() and each.instance.pk:
                said = {name: each.cleaned_data[name] for name in each.changed_data if name in ITEM_FIELDS}
                resting.filter(pk=each.instance.pk, draft=form.instance).update(**said)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Then what is wrong with it now."""
        super().save_related(request, form, formsets, change)
        edited = bool(form.changed_data) or any(formset.has_changed() for formset in formsets)
        requests.revalidate(form.instance, edited=edited)

    def response_add(self, request: HttpRequest, obj: Draft, post_url_continue: str | None = None) -> HttpResponse:
        """On to its page; a job looks into the bucket meanwhile."""
        self._request(request, obj, "look")
        return HttpResponseRedirect(draft_page(obj))

    def response_change(self, request: HttpRequest, obj: Draft) -> HttpResponse:
        """What was asked for is asked of a job, after what was written has been saved."""
        word = request.POST.get("_ask", "")
        if not word:
            if obj.busy:
                self.message_user(request, "A job works on it: nothing was saved.", messages.WARNING)
                return HttpResponseRedirect(draft_page(obj))
            return super().response_change(request, obj)
        if word == "withdraw":
            return HttpResponseRedirect(reverse("admin:campaigns_draft_withdraw", args=[obj.pk]))
        if word not in requests.REQUESTS:
            raise BadRequest(f"There is no such action: {word!a}")
        self._request(request, obj, word)
        return HttpResponseRedirect(draft_page(obj))

    def _request(self, request: HttpRequest, draft: Draft, word: str) -> bool:
        """Ask for one thing, write down who did, and say what came of it."""
        try:
            told = requests.REQUESTS[word](draft, timezone.now(), Actor.of(request).user)
        except RequestRejected as error:
            self.message_user(request, f"{draft}: {error}", messages.WARNING)
            return False
        if word != "check":
            self.log_change(request, draft, word)
        self.message_user(request, f"{draft}: {told}", messages.SUCCESS)
        return True

    # Its pages.

    def get_urls(self) -> list[URLPattern]:
        """Django's, how far the work is, and the question before a withdrawal."""
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/progress/", wrap(self.progress_view), name="campaigns_draft_progress"),
            path("<int:pk>/withdraw/", wrap(self.withdraw_view), name="campaigns_draft_withdraw"),
            *super().get_urls(),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Of a campaign that has a draft, that one."""
        mine = self.get_queryset(request)
        there = mine.filter(airline__pk=row_id(request.GET.get("airline")), name=request.GET.get("name", "")).first()
        if there and request.method == "GET":
            return HttpResponseRedirect(draft_page(there))
        return super().add_view(request, form_url, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form, and above it how the work goes."""
        draft = self.get_object(request, object_id)
        context = self._context(request, draft)
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def _context(self, request: HttpRequest, draft: Draft) -> dict[str, Any]:
        now, totals = timezone.now(), draft_totals(draft)
        hashing = draft.items.filter(hash_pending=True, hashed_bytes__gt=0)[:HASHING_SHOWN]
        return {
            "draft": draft,
            "now": now,
            "totals": totals,
            "activity": summary.activity_text(draft, now),
            "hashing": summary.hashing_text(totals),
            "hashing_items": [summary.item_hashing_text(item) for item in hashing],
            "manifest": summary.manifest_text(draft),
            "changes": summary.changes_text(totals),
            "publishable": not draft.faults and not draft.faulty_items,
            "may_change": self.has_change_permission(request, draft),
            "many": totals.found > INLINE_LIMIT,
        }

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that changes while a job works. Raises Http404, PermissionDenied."""
        draft = self.get_object(request, str(pk))
        if not self.has_view_permission(request, draft):
            raise PermissionDenied(MANAGERS_ONLY)
        return render(request, "admin/campaigns/draft/state.html", self._context(request, draft))

    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What a withdrawal means; done when that was answered. Raises Http404, PermissionDenied."""
        draft = self.get_object(request, str(pk))
        if not self.has_change_permission(request, draft):
            raise PermissionDenied(MANAGERS_ONLY)
        if request.method == "POST":
            with transaction.atomic():
                self._request(request, draft, "withdraw")
            return HttpResponseRedirect(draft_page(draft))
        context = {
            **self.admin_site.each_context(request),
            **self._context(request, draft),
            "title": f"Withdraw {draft}?",
            "opts": self.opts,
        }
        return render(request, "admin/campaigns/draft/withdraw.html", context)

    # Several at once.

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Without deletion: a draft is deleted on its own page."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def _request_all(self, request: HttpRequest, drafts: QuerySet[Draft], word: str) -> None:
        """One message for each."""
        done = sum([self._request(request, draft, word) for draft in drafts.select_related("airline")])
        self.message_user(request, f"{capfirst(word)}: {done} asked for, {len(drafts) - done} skipped.")

    @admin.action(description="Look into the bucket", permissions=["change"])
    def scan_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> None:
        """For each of the chosen."""
        self._request_all(request, drafts, "look")

    @admin.action(description="Hash what is not hashed yet", permissions=["change"])
    def hash_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> None:
        """For each of the chosen."""
        self._request_all(request, drafts, "hash")

    @admin.action(description="Validate", permissions=["change"])
    def validate_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> None:
        """For each of the chosen."""
        self._request_all(request, drafts, "check")

    @admin.action(description="Publish", permissions=["change"])
    def publish_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> None:
        """For each of the chosen."""
        self._request_all(request, drafts, "publish")

    # Deleting.

    def has_delete_permission(self, request: HttpRequest, obj: Draft | None = None) -> bool:
        """Not while a job works on it."""
        return super().has_delete_permission(request, obj) and not (obj and obj.busy)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """What goes, without a line for each of 10,000 items. Nothing in the bucket does."""
        count = DraftItem.objects.filter(draft__in=objs).count()
        return [str(draft) for draft in objs], {"drafts": len(objs), "items of drafts": count}, set(), []
