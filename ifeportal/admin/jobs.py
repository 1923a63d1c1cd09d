"""Admin of jobs: state of periodic work, and an action that makes jobs due now."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_q.admin import Schedule

from ifeportal import formatting
from ifeportal.admin.base import ReadOnlyAdmin
from ifeportal.jobs import status
from ifeportal.models import PACEMAKER, Job, JobQuerySet


class KindFilter(admin.SimpleListFilter):
    """What kind of work a job is."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The kinds there are."""
        return [(kind, kind) for kind in (*settings.JOBS_PER_AIRLINE, *settings.JOBS, PACEMAKER)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Those of the chosen kind."""
        kind = self.value()
        return queryset.filter(Q(name=kind) | Q(name__startswith=f"{kind}:")) if kind else queryset


class StateFilter(admin.SimpleListFilter):
    """How a job is."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """What an operator looks for."""
        return [("running", "running"), ("late", "late"), ("failing", "failing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Those in the chosen state."""
        assert isinstance(queryset, JobQuerySet)
        match self.value():
            case "running":
                return queryset.running(timezone.now())
            case "late":
                return queryset.late(timezone.now())
            case "failing":
                return queryset.failing()
        return queryset


class JobAdmin(ReadOnlyAdmin[Job]):
    """Periodic work: how it goes, who holds it, when it is due; and to have it done now."""

    list_display = ["name", "how", "last_run", "took", "lag", "in_a_row", "next_run", "holder"]
    list_filter = [StateFilter, KindFilter]
    search_fields = ["name", "holder", "error"]
    list_per_page = 100
    ordering = ["-failures", "due_at"]
    actions = ["run_now"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """With how long the last run took, to be ordered by."""
        return super().get_queryset(request).annotate(took=F("finished_at") - F("started_at"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, and above it how things are as a whole."""
        context = {"title": "Jobs", "alerts": status.current_alerts(timezone.now())}
        return super().changelist_view(request, context | (extra_context or {}))

    @admin.display(description="state")
    def how(self, job: Job) -> str:
        """In a word."""
        return job.state(timezone.now())

    @admin.display(description="last run (UTC)", ordering="started_at")
    def last_run(self, job: Job) -> str:
        """When it was last begun, and how long ago; the day where it was another."""
        if job.started_at is None:
            return "never"
        now = timezone.now()
        day = "" if job.started_at.date() == now.date() else f"{job.started_at:%Y-%m-%d} "
        return f"{day}{job.started_at:%H:%M:%S}, {formatting.age(job.started_at, now)}"

    @admin.display(description="took", ordering="took")
    def took(self, job: Job) -> str:
        """How long the last run that ended took."""
        return "" if job.seconds is None else f"{job.seconds:.2f}\N{NO-BREAK SPACE}s"

    @admin.display(description="late by", ordering="-due_at")
    def lag(self, job: Job) -> str:
        """How far past its time it is."""
        lag = job.lag(timezone.now())
        return formatting.duration(int(lag)) if lag else ""

    @admin.display(description="failures in a row", ordering="failures")
    def in_a_row(self, job: Job) -> SafeString | str:
        """How many, and what the last one said."""
        return format_html("{}: {}", job.failures, job.error[:200]) if job.failures else ""

    @admin.display(description="next run (UTC)", ordering="due_at")
    def next_run(self, job: Job) -> str:
        """When it is due."""
        now = timezone.now()
        if job.state(now) in ("running", "away"):
            return ""
        return f"{job.due_at:%H:%M:%S}, {formatting.until(job.due_at, now)}" if job.due_at > now else "now"

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whoever may change jobs, though there is no form to change one."""
        return request.user.has_perm("ifeportal.change_job")

    @admin.action(description="Run now", permissions=["run"])
    def run_now(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        """Make the chosen jobs due; those that run already are left alone."""
        assert isinstance(rows, JobQuerySet)
        now = timezone.now()
        chosen = list(rows.without_pacemaker().free(now))
        with transaction.atomic():
            due = Job.objects.free(now).filter(pk__in=[job.pk for job in chosen]).locked().update(due_at=now)
        for job in chosen:
            self.log_change(request, job, "Run now")
        self.message_user(request, f"Due now: {due}. Running already, or not to be run: {rows.count() - due}.")


admin.site.register(Job, JobAdmin)

# The pacemaker decides what runs when; a form that runs any function by name would be a way in.
admin.site.unregister(Schedule)
