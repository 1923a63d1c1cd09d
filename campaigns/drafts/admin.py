"""Admin of drafts, where campaigns are edited and published. Requests write rows only; jobs work on the bucket.

Staff need Django's permissions. Managers of an airline see and choose only their own airlines.
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
LABELS: Final = {"look": "Scan", "hash": "Hash", "check": "Validate", "publish": "Publish"}
MANAGERS_ONLY: Final = "Only managers of the airline can do this."


@admin.register(Draft)
class DraftAdmin(ManagerAdmin[Draft]):
    """Drafts: the form, the requests for work on them, and their state."""

    task = "Campaigns"
    is_main_list = True
    about = "Campaigns are made, published and withdrawn here."
    empty = "Add a draft: choose the airline and name the folder of the media bucket that has the content."
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
        # Django would link to the airline's page, which managers may not open.
        return str(draft.airline)

    @admin.display(description="state", ordering="state")
    def state_text(self, draft: Draft) -> str:
        return f"{draft.get_state_display()}: {draft.error_code}" if draft.error_code else draft.get_state_display()

    @admin.display(description="problems", ordering="faulty_items")
    def errors(self, draft: Draft) -> str:
        if draft.error:
            return draft.error[:200]
        count = draft.faulty_items
        items = [f"Items with problems: {count:,}."] if count else []
        return " ".join([*draft.faults, *items])[:200]

    # The form.

    def get_readonly_fields(self, request: HttpRequest, obj: Draft | None = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return ("airline_name", "name", *DRAFT_FIELDS) if obj.busy else ("airline_name", "name")

    def get_fields(self, request: HttpRequest, obj: Draft | None = None) -> tuple[str, ...]:
        return ("airline_name" if obj else "airline", "name", *DRAFT_FIELDS)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Prefill title and dates from an existing campaign."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        visible = Campaign.objects.visible_to(request.user)
        campaign = visible.filter(airline__pk=row_id(initial.get("airline")), name=initial.get("name", "")).first()
        if campaign:
            initial |= {"title": campaign.title, "exhibition_starts": campaign.exhibition_starts}
            initial["exhibition_ends"] = campaign.exhibition_ends
        return initial

    def get_inlines(self, request: HttpRequest, obj: Draft | None) -> list[type[Any]]:
        count = obj.items.all()[: INLINE_LIMIT + 1].count() if obj else 0
        return [DraftItemInline] if 0 < count <= INLINE_LIMIT else []

    def save_model(self, request: HttpRequest, obj: Draft, form: Any, change: bool) -> None:
        # Changed fields only, by a conditional update: a job may have started since the form was shown.
        if not change:
            obj.save()
            return
        fields = {name: form.cleaned_data[name] for name in form.changed_data}
        if fields and not Draft.objects.filter(pk=obj.pk).idle().update(**fields):
            self.message_user(request, "Not saved. A job started to work on this draft.", messages.WARNING)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save(commit=False)
        idle = DraftItem.objects.exclude(draft__state__in=BUSY_STATES)
        for each in formset.forms:
            if each.has_changed() and each.instance.pk:
                fields = {name: each.cleaned_data[name] for name in each.changed_data if name in ITEM_FIELDS}
                idle.filter(pk=each.instance.pk, draft=form.instance).update(**fields)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        edited = bool(form.changed_data) or any(formset.has_changed() for formset in formsets)
        requests.revalidate(form.instance, edited=edited)

    def response_add(self, request: HttpRequest, obj: Draft, post_url_continue: str | None = None) -> HttpResponse:
        self._request(request, obj, "look")
        return HttpResponseRedirect(draft_page(obj))

    def response_change(self, request: HttpRequest, obj: Draft) -> HttpResponse:
        # Django has saved the form; the button that was pressed decides what follows.
        word = request.POST.get("_ask", "")
        if not word:
            if obj.busy:
                self.message_user(request, "Not saved. A job is working on this draft.", messages.WARNING)
                return HttpResponseRedirect(draft_page(obj))
            return super().response_change(request, obj)
        if word == "withdraw":
            return HttpResponseRedirect(reverse("admin:campaigns_draft_withdraw", args=[obj.pk]))
        if word not in requests.REQUESTS:
            raise BadRequest(f"Unknown action: {word!a}")
        self._request(request, obj, word)
        return HttpResponseRedirect(draft_page(obj))

    def _request(self, request: HttpRequest, draft: Draft, word: str) -> bool:
        """Make a request, log who made it, and show the result. Return whether it was accepted."""
        try:
            message = requests.REQUESTS[word](draft, timezone.now(), Actor.of(request).user)
        except RequestRejected as error:
            self.message_user(request, f"{draft}: {error}", messages.WARNING)
            return False
        if word != "check":
            self.log_change(request, draft, word)
        self.message_user(request, f"{draft}: {message}", messages.SUCCESS)
        return True

    # Its pages.

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/progress/", wrap(self.progress_view), name="campaigns_draft_progress"),
            path("<int:pk>/withdraw/", wrap(self.withdraw_view), name="campaigns_draft_withdraw"),
            *super().get_urls(),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the form, or redirect to the draft that the campaign already has."""
        airline, name = row_id(request.GET.get("airline")), request.GET.get("name", "")
        existing = self.get_queryset(request).filter(airline__pk=airline, name=name).first()
        if existing and request.method == "GET":
            return HttpResponseRedirect(draft_page(existing))
        return super().add_view(request, form_url, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
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
        """Render the part of the page that changes while a job works. Raises Http404, PermissionDenied."""
        draft = self.get_object(request, str(pk))
        if not self.has_view_permission(request, draft):
            raise PermissionDenied(MANAGERS_ONLY)
        return render(request, "admin/campaigns/draft/state.html", self._context(request, draft))

    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for confirmation, then request the withdrawal. Raises Http404, PermissionDenied."""
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

    @admin.action(description="Publish", permissions=["change"])
    def publish_drafts(self, request: HttpRequest, drafts: QuerySet[Draft]) -> None:
        self._request_all(request, drafts, "publish")

    # Deleting.

    def has_delete_permission(self, request: HttpRequest, obj: Draft | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.busy)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        # Without a line for each of up to 10,000 items.
        count = DraftItem.objects.filter(draft__in=objs).count()
        return [str(draft) for draft in objs], {"drafts": len(objs), "items of drafts": count}, set(), []
