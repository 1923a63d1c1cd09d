"""Admin of drafts, where campaigns are edited and published. Requests write rows only; operations work on the bucket.

Staff need Django's permissions. Managers of an airline see and choose only their own airlines.
"""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from campaigns.drafts import requests
from campaigns.drafts.draft_list import DraftListAdmin
from campaigns.drafts.forms import DRAFT_FIELDS, ITEM_FIELDS, DraftForm
from campaigns.drafts.item_admin import DraftItemInline, draft_page, row_id
from campaigns.drafts.page import context
from campaigns.drafts.page.problems import general_problems
from campaigns.drafts.totals import draft_totals
from campaigns.models import BUSY_STATES, Campaign, Draft, DraftItem
from ifeportal import formatting
from ifeportal.access import Role
from ifeportal.models import Airline

MANAGERS_ONLY: Final = "Only managers of the airline can do this."
BUSY_MESSAGE: Final = "Not saved. A job is working on this draft."


@admin.register(Draft)
class DraftAdmin(DraftListAdmin):
    """Drafts: the form, the requests for work on them, and their state."""

    form = DraftForm
    change_form_template = "admin/campaigns/draft/change_form.html"
    delete_confirmation_template = "admin/campaigns/draft/delete_confirmation.html"

    @admin.display(description="airline")
    def airline_name(self, draft: Draft) -> str:
        # Django would link to the airline's page, which managers may not open.
        return str(draft.airline)

    # The form.

    def get_readonly_fields(self, request: HttpRequest, obj: Draft | None = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return ("airline_name", "name", *DRAFT_FIELDS) if obj.busy else ("airline_name", "name")

    def get_fields(self, request: HttpRequest, obj: Draft | None = None) -> tuple[str, ...]:
        return ("airline_name" if obj else "airline", "name", *DRAFT_FIELDS)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Prefill the only airline that the user manages, and title and dates from an existing campaign."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        airlines = Airline.objects.with_role(request.user, Role.MANAGER)[:2]
        if "airline" not in initial and len(airlines) == 1:
            initial["airline"] = airlines[0].pk
        visible = Campaign.objects.visible_to(request.user)
        campaign = visible.filter(airline__pk=row_id(initial.get("airline")), name=initial.get("name", "")).first()
        if campaign:
            initial |= {"title": campaign.title, "exhibition_starts": campaign.exhibition_starts}
            initial["exhibition_ends"] = campaign.exhibition_ends
        return initial

    def get_inlines(self, request: HttpRequest, obj: Draft | None) -> list[type[Any]]:
        limit = context.INLINE_LIMIT
        count = obj.items.all()[: limit + 1].count() if obj else 0
        return [DraftItemInline] if 0 < count <= limit else []

    def save_model(self, request: HttpRequest, obj: Draft, form: Any, change: bool) -> None:
        # Changed fields only, by a conditional update: a job or a person may have changed it since it was read.
        if not change:
            obj.save()
            return
        fields = {name: form.cleaned_data[name] for name in form.changed_data}
        as_read = {name: form.initial[name] for name in fields}
        if fields and not Draft.objects.filter(pk=obj.pk, **as_read).idle().update(**fields):
            self.message_user(request, "Not saved. Someone else or a job changed this draft.", messages.WARNING)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save(commit=False)
        idle = DraftItem.objects.exclude(draft__state__in=BUSY_STATES)
        for each in formset.forms:
            if each.has_changed() and each.instance.pk:
                fields = {name: each.cleaned_data[name] for name in each.changed_data if name in ITEM_FIELDS}
                as_read = {name: each.initial[name] for name in fields}
                if not idle.filter(pk=each.instance.pk, draft=form.instance, **as_read).update(**fields):
                    text = f"{each.instance.name}: not saved. Someone else or a job changed it."
                    self.message_user(request, text, messages.WARNING)

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
                self.message_user(request, BUSY_MESSAGE, messages.WARNING)
            else:
                self.message_user(request, _saved_text(obj), messages.SUCCESS)
            return HttpResponseRedirect(draft_page(obj))
        if word in ("publish", "withdraw"):
            return HttpResponseRedirect(reverse(f"admin:campaigns_draft_{word}", args=[obj.pk]))
        if word not in requests.REQUESTS:
            raise BadRequest(f"Unknown action: {word!a}")
        self._request(request, obj, word)
        return HttpResponseRedirect(draft_page(obj))

    # Its pages.

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/progress/", wrap(self.progress_view), name="campaigns_draft_progress"),
            path("<int:pk>/publish/", wrap(self.publish_view), name="campaigns_draft_publish"),
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
        extra = {"title": "New campaign", "bucket": settings.MEDIA_BUCKET, **(extra_context or {})}
        return super().add_view(request, form_url, extra)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        draft = self.get_object(request, object_id)
        shown = {**context.page_context(draft, timezone.now()), "may_change": self._may_change(request, draft)}
        shown |= {"title": draft.title or draft.name, "subtitle": str(draft)}
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Put the problems of the draft beside its fields."""
        draft = kwargs.get("obj")
        found = general_problems(draft) if draft else []
        form = context["adminform"].form
        context["fields"] = [
            (field, [problem.text for problem in found if problem.field == field.name])
            for field in form
            if not field.is_hidden
        ]
        context["may_upload"] = (
            draft is not None and self._may_change(request, draft) and self._may_upload(request, draft)
        )
        context["editable"] = draft is None or (self._may_change(request, draft) and not draft.busy)
        return super().render_change_form(request, context, *args, **kwargs)

    @staticmethod
    def _may_upload(request: HttpRequest, draft: Draft) -> bool:
        return Airline.objects.with_role(request.user, Role.MANAGER).filter(pk=draft.airline_id).exists()

    def _may_change(self, request: HttpRequest, draft: Draft) -> bool:
        return self.has_change_permission(request, draft)

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Render the part of the page that changes while a job works. Raises Http404, PermissionDenied."""
        draft = self.get_object(request, str(pk))
        if not self.has_view_permission(request, draft):
            raise PermissionDenied(MANAGERS_ONLY)
        shown = context.workflow_context(draft, timezone.now())
        shown["may_change"] = self._may_change(request, draft)
        shown["has_delete_permission"] = self.has_delete_permission(request, draft)
        return render(request, "admin/campaigns/draft/state.html", shown)

    def publish_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what publishing changes; request it when that is confirmed. Raises Http404, PermissionDenied."""
        draft = self._changeable(request, pk)
        if draft.busy or draft.scanned_at is None or draft.faults or draft.faulty_items:
            text = "A job is working on it." if draft.busy else "Complete the steps before it."
            self.message_user(request, f"{draft}: Cannot publish. {text}", messages.WARNING)
            return HttpResponseRedirect(draft_page(draft))
        return self._confirm(request, draft, "publish", context.publish_context(draft, timezone.now()))

    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for confirmation, then request the withdrawal. Raises Http404, PermissionDenied."""
        draft = self._changeable(request, pk)
        return self._confirm(request, draft, "withdraw", context.withdraw_context(draft, timezone.now()))

    def _changeable(self, request: HttpRequest, pk: int) -> Draft:
        draft = self.get_object(request, str(pk))
        if not self.has_change_permission(request, draft):
            raise PermissionDenied(MANAGERS_ONLY)
        return draft

    def _confirm(self, request: HttpRequest, draft: Draft, word: str, shown: dict[str, Any]) -> HttpResponse:
        """Show a confirmation, or make the request that it confirms unless the draft changed since it was shown."""
        if request.method == "POST":
            if request.POST.get("revision", shown["revision"]) != shown["revision"]:
                text = f"{draft}: nothing was done, because the draft changed meanwhile. Review it again."
                self.message_user(request, text, messages.WARNING)
                return HttpResponseRedirect(draft_page(draft))
            with transaction.atomic():
                self._request(request, draft, word)
            return HttpResponseRedirect(draft_page(draft))
        title = f"{word.capitalize()} {draft}?"
        page = {**self.admin_site.each_context(request), **shown, "title": title, "opts": self.opts}
        return render(request, f"admin/campaigns/draft/{word}.html", page)

    # Deleting.

    def has_delete_permission(self, request: HttpRequest, obj: Draft | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.busy)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        draft = self.get_object(request, object_id)
        shown = {**context.withdraw_context(draft, timezone.now()), "title": f"Delete the draft {draft}?"}
        return super().delete_view(request, object_id, {**shown, **(extra_context or {})})

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        # Without a line for each of up to 10,000 items.
        count = DraftItem.objects.filter(draft__in=objs).count()
        return [str(draft) for draft in objs], {"drafts": len(objs), "items of drafts": count}, set(), []


def _saved_text(draft: Draft) -> str:
    """Return what was saved and what is left to do."""
    problems = len(general_problems(draft)) + draft_totals(draft).problems
    return "Saved." if not problems else f"Saved. {formatting.quantity(problems, 'problem')} left."
