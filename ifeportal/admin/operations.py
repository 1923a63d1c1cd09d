"""Admin of operations, read-only, with actions that cancel and retry them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from django.contrib import admin, messages
from django.db.models import Count as CountOf
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ifeportal import formatting
from ifeportal.admin import columns
from ifeportal.admin.base import ReadOnlyScopedAdmin
from ifeportal.admin.overview import Count
from ifeportal.audit import Actor
from ifeportal.operations.actions import Action, perform
from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.queries import OPEN, status_condition
from ifeportal.operations.requests import RequestRejected
from ifeportal.operations.serialization import percent

SHOWN_REASONS: Final = 3  # of an action that rejected some of its rows


class KindFilter(admin.SimpleListFilter):
    """Filter by kind."""

    title = "kind"
    parameter_name = "of_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.name, kind.label) for kind in registered_kinds().values()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class StateFilter(admin.SimpleListFilter):
    """Filter by state, or all that have not ended."""

    title = "state"
    parameter_name = "in_state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(OPEN, "not finished"), *((value, label.lower()) for value, label in OperationState.choices)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        word = self.value()
        return queryset.filter(status_condition(word)) if word else queryset


@admin.register(Operation)
class OperationAdmin(ReadOnlyScopedAdmin[Operation]):
    """Operations: what was requested, how far it is, and which worker does it."""

    group = "Background work"
    about = "Work that users requested, such as uploads: its queue, its progress and its errors."
    empty = "An operation appears here when a user or a program requests one."
    names: ClassVar = {
        "uuid": "public id",
        "fence": "slices started",
        "holder": "running on",
        "lease_until": "running until",
    }
    list_display = [
        "title",
        "kind",
        "how",
        "airline",
        "user",
        "progress",
        "lane",
        "created_at",
        "finished_at",
        "problem",
    ]
    list_filter = [StateFilter, KindFilter, "lane", "airline"]
    list_select_related = ["airline", "user"]
    search_fields = ["title", "user__username", "error_code", "error", "holder"]
    list_per_page = 100
    ordering = ["-pk"]
    actions = ["cancel", "retry"]

    @admin.display(description="state", ordering="state")
    def how(self, row: Operation) -> SafeString:
        word = f"{row.state}: {row.stage}" if row.stage and row.is_open else row.state
        return columns.state(word, row.state)

    @admin.display(description="progress", ordering="bytes_done")
    def progress(self, row: Operation) -> str:
        done = f"{formatting.size(row.bytes_done)} of {formatting.size(row.bytes_total)}"
        known = percent(row)
        return done if known is None else f"{formatting.percent(known)}, {done}"

    @admin.display(description="problem", ordering="error_code")
    def problem(self, row: Operation) -> SafeString | str:
        """Return what the operation waits for, or its error."""
        text = row.waiting_for if row.is_open and row.waiting_for else f"{row.error_code} {row.error}".strip()
        return format_html('<span class="long">{}</span>', text[:300]) if text else ""

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may cancel and retry: with the permission to change, though no form changes one."""
        return request.user.has_perm("operations.change_operation")

    @admin.action(description="Cancel", permissions=["act"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Operation]) -> None:
        """Request the end of the selected operations."""
        self._perform("cancel", "Cancelled", request, rows)

    @admin.action(description="Retry", permissions=["act"])
    def retry(self, request: HttpRequest, rows: QuerySet[Operation]) -> None:
        """Queue the selected operations again."""
        self._perform("retry", "Queued again", request, rows)

    def _perform(self, word: Action, done: str, request: HttpRequest, rows: Iterable[Operation]) -> None:
        """Act on each row, and say how many were accepted and why others were not."""
        accepted, reasons = 0, list[str]()
        for row in rows:
            try:
                perform(word, row, Actor.of(request))
                accepted += 1
            except RequestRejected as error:
                reasons.append(f"{row.title}: {error}")
        more = len(reasons) - SHOWN_REASONS
        rest = f" And {formatting.count(more)} more." if more > 0 else ""
        sentences = " ".join(reasons[:SHOWN_REASONS])
        text = f"{done}: {accepted}." + (f" Rejected: {len(reasons)}. {sentences}{rest}" if reasons else "")
        self.message_user(request, text, messages.WARNING if reasons else messages.INFO)


def counts(request: HttpRequest) -> list[Count]:
    """Return the numbers of operations for the first page; none without permission to see them. One statement."""
    if not admin.site.get_model_admin(Operation).has_view_permission(request):
        return []
    listing = reverse("admin:operations_operation_changelist")
    waiting = (OperationState.QUEUED, OperationState.WAITING)
    found = Operation.objects.visible_to(request.user).aggregate(
        waiting=CountOf("pk", filter=Q(state__in=waiting)),
        running=CountOf("pk", filter=Q(state=OperationState.RUNNING)),
        failed=CountOf("pk", filter=Q(state=OperationState.FAILED)),
    )
    return [
        Count("Operations waiting", found["waiting"], f"{listing}?in_state={OPEN}"),
        Count("Operations running", found["running"], f"{listing}?in_state={OperationState.RUNNING}"),
        Count("Operations failed", found["failed"], f"{listing}?in_state={OperationState.FAILED}"),
    ]
