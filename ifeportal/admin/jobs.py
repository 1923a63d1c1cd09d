"""Admin of jobs: state of periodic work, an action that makes jobs due now, and failed messages to workers."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_q.admin import Failure, OrmQ, Schedule, Success

from ifeportal import formatting
from ifeportal.admin import columns, operations, overview
from ifeportal.admin.base import DeleteOnlyAdmin, ReadOnlyAdmin
from ifeportal.admin.overview import Count, Entry, Link, Section
from ifeportal.jobs import status
from ifeportal.models import PACEMAKER, Job, JobQuerySet
from loader.s3.auth.redaction import redact

SHOWN: Final = 5  # failing jobs on the first page
SHAPES: Final = {
    "running": "loading",
    "late": "stale",
    "failing": "failed",
    "due": "waiting",
    "waiting": "pending",
    "away": "silent",
}
NO_PACEMAKER: Final = status.Alerts(jobs_late=0, jobs_failing=0, calls_waiting=0, pacemaker=False)


class KindFilter(admin.SimpleListFilter):
    """Filter by kind of job."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in (*settings.JOBS_PER_AIRLINE, *settings.JOBS, PACEMAKER)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        kind = self.value()
        return queryset.filter(Q(name=kind) | Q(name__startswith=f"{kind}:")) if kind else queryset


class StateFilter(admin.SimpleListFilter):
    """Filter by state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("running", "running"), ("late", "late"), ("failing", "failing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
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
    """Periodic jobs: state, lease holder and next run; and an action that makes jobs due now."""

    task = "Jobs"
    is_main_list = True
    about = "Work that the portal repeats: polling each airline, hashing, publishing and housekeeping."
    empty = "A running pacemaker creates one job for each airline and each task."
    names: ClassVar = {
        "fence": "runs started",
        "failures": "failures in a row",
        "lease_until": "running until",
        "holder": "running on",
        "found_at": "last found something new",
        "steady_since": "no gap since",
        "watched_until": "a page is open until",
        "error": "last error",
    }
    list_display = ["name", "how", "last_run", "took", "lag", "in_a_row", "next_run", "holder"]
    list_filter = [StateFilter, KindFilter]
    search_fields = ["name", "holder", "error"]
    list_per_page = 100
    ordering = ["-failures", "due_at"]
    actions = ["run_now"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Annotate the duration of the last run, for ordering."""
        return super().get_queryset(request).annotate(took=F("finished_at") - F("started_at"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the state of all jobs together above the list."""
        context = {"title": "Jobs", "job_status": describe_status(status.current_alerts(timezone.now()))}
        return super().changelist_view(request, context | (extra_context or {}))

    @admin.display(description="state")
    def how(self, job: Job) -> SafeString:
        word = job.state(timezone.now())
        return columns.state(word, SHAPES[word])

    @admin.display(description="last run (UTC)", ordering="started_at")
    def last_run(self, job: Job) -> str:
        """Return the start of the last run and its age, with the date unless it was today."""
        if job.started_at is None:
            return "never"
        now = timezone.now()
        day = "" if job.started_at.date() == now.date() else f"{job.started_at:%Y-%m-%d} "
        return f"{day}{job.started_at:%H:%M:%S}, {formatting.age(job.started_at, now)}"

    @admin.display(description="took", ordering="took")
    def took(self, job: Job) -> str:
        return "" if job.seconds is None else f"{job.seconds:.2f}\N{NO-BREAK SPACE}s"

    @admin.display(description="late by", ordering="-due_at")
    def lag(self, job: Job) -> str:
        lag = job.lag(timezone.now())
        return formatting.duration(int(lag)) if lag else ""

    @admin.display(description="failures in a row", ordering="failures")
    def in_a_row(self, job: Job) -> SafeString | str:
        """Return the number of failures and the last error."""
        return format_html("{}: {}", job.failures, job.error[:200]) if job.failures else ""

    @admin.display(description="next run (UTC)", ordering="due_at")
    def next_run(self, job: Job) -> str:
        now = timezone.now()
        if job.state(now) in ("running", "away"):
            return ""
        return f"{job.due_at:%H:%M:%S}, {formatting.until(job.due_at, now)}" if job.due_at > now else "now"

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may run jobs: with the permission to change them, though no form changes one."""
        return request.user.has_perm("ifeportal.change_job")

    @admin.action(description="Run now", permissions=["run"])
    def run_now(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        """Make the selected jobs due, except running ones."""
        assert isinstance(rows, JobQuerySet)
        now = timezone.now()
        selected = list(rows.without_pacemaker().free(now))
        with transaction.atomic():
            due = Job.objects.free(now).filter(pk__in=[job.pk for job in selected]).locked().update(due_at=now)
        for job in selected:
            self.log_change(request, job, "Run now")
        self.message_user(request, f"Made due now: {due}. Already running, or not runnable: {rows.count() - due}.")


def describe_status(alerts: status.Alerts) -> list[tuple[str, bool]]:
    """Return the sentences on the state of all jobs, each with whether it reports a problem."""
    pacemaker = "A pacemaker is running."
    if not alerts.pacemaker:
        pacemaker = "No pacemaker is running, so nothing is polled. Start one with “python manage.py pacemaker”."
    late = f"Late: {alerts.jobs_late}."
    if alerts.jobs_late and alerts.pacemaker:
        late += " Check that qcluster is running and has enough workers."
    return [
        (pacemaker, not alerts.pacemaker),
        (late, alerts.jobs_late > 0),
        (f"Failing: {alerts.jobs_failing}.", alerts.jobs_failing > 0),
        (f"Wake-up messages waiting for a worker: {alerts.calls_waiting}.", False),
    ]


def section(request: HttpRequest) -> Section | None:
    """Return the jobs that need attention; None without permission to see jobs. Seven statements."""
    its = admin.site.get_model_admin(Job)
    if not its.has_view_permission(request):
        return None
    now, listing = timezone.now(), reverse("admin:ifeportal_job_changelist")
    alerts = status.current_alerts(now)
    failures = [] if alerts.pacemaker else [_no_pacemaker(listing)]
    rows = Job.objects.without_pacemaker().failing().order_by("-failures", "due_at")[:SHOWN]
    return Section(
        title="Jobs and health",
        empty="All jobs run on time, and the last run of each succeeded.",
        entries=[*failures, *(_entry(job, listing) for job in rows)],
        counts=[
            Count("Late", alerts.jobs_late, f"{listing}?state=late", problem=True),
            Count("Failing", alerts.jobs_failing, f"{listing}?state=failing", problem=True),
            Count("Waiting wake-up messages", alerts.calls_waiting),
            *_failed_messages(request),
            *operations.counts(request),
        ],
        actions=[Link("Show jobs", listing)],
        more=Link("System health for programs (JSON)", reverse("readyz")),
    )


def _no_pacemaker(listing: str) -> Entry:
    return Entry("Pacemaker", listing, "Not running", "failed", describe_status(NO_PACEMAKER)[0][0])


def _entry(job: Job, listing: str) -> Entry:
    address = reverse("admin:ifeportal_job_change", args=[job.pk])
    times = f"Failed {job.failures:,} times in a row" if job.failures > 1 else "Failed"
    return Entry(job.name, address, times, "failed", job.error[:200], [Link("Open", address)])


def _failed_messages(request: HttpRequest) -> list[Count]:
    if not admin.site.get_model_admin(Failure).has_view_permission(request):
        return []
    return [Count("Failed messages", Failure.objects.count(), reverse("admin:django_q_failure_changelist"))]


class FailureAdmin(DeleteOnlyAdmin[Any]):
    """Messages to workers whose handling failed. Arguments are not shown."""

    group = "Background work"
    about = "Messages to workers that failed or ran out of time. The work is tried again without them."
    empty = "No message to a worker failed in the last 30 days."
    list_display = ["name", "func", "started", "stopped", "attempt_count", "outcome"]
    list_filter = ["func"]
    search_fields = ["name", "func"]
    date_hierarchy = "stopped"
    ordering = ["-stopped"]
    fields = ["name", "func", "started", "stopped", "attempt_count", "outcome"]
    readonly_fields = ["outcome"]

    @admin.display(description="error")
    def outcome(self, failure: Failure) -> SafeString:
        """Return the error without secrets."""
        return format_html('<span class="long">{}</span>', redact(str(failure.result))[:2000])


admin.site.register(Job, JobAdmin)
overview.add_section("jobs", 40, section)

# Only the pacemaker schedules work. The form of a schedule runs any function by name, which would allow arbitrary code;
# the action that queues a task again, and the queue's own rows, can be used without a permission and an audit entry.
for model in (Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
admin.site.register(Failure, FailureAdmin)
