"""The admin of users, airlines and jobs, and what the admins of the apps above build on.

Observed state (what the buckets say) can be looked at but not changed here: the next poll would put it back.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_q.admin import Schedule  # registers, so that it can be taken out
from rest_framework.authtoken.admin import TokenAdmin as DrfTokenAdmin
from rest_framework.authtoken.models import TokenProxy

from ifeportal import alerts
from ifeportal.access import ScopedQuerySet
from ifeportal.live.models import Change
from ifeportal.models import PACEMAKER, Airline, Job, JobQuerySet, Membership, User
from loader.contract import BadName, check_name, fold

M = TypeVar("M", bound=Model)

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin
    _MembershipInline = admin.TabularInline[Membership, User]
    _UserAdmin = DjangoUserAdmin[User]
    _AirlineForm = forms.ModelForm[Airline]
else:

    class _ModelAdmin(admin.ModelAdmin):
        def __class_getitem__(cls, _: object) -> type:
            return cls

    _MembershipInline = admin.TabularInline
    _UserAdmin = DjangoUserAdmin
    _AirlineForm = forms.ModelForm

admin.site.site_header = "ifeportal admin"
admin.site.site_title = "ifeportal"
admin.site.index_title = "Administration"


def page_link(row: Any) -> SafeString:
    """A link to the row's page in the portal."""
    return format_html('<a href="{}">open</a>', row.get_absolute_url())


class Scoped(_ModelAdmin[M]):
    """Rows of the airlines the user may see; a column that leads to their page in the portal."""

    list_per_page = 100
    show_full_result_count = False
    view_on_site = False

    def get_queryset(self, request: HttpRequest) -> ScopedQuerySet[M]:
        """The rows the user may see."""
        rows = super().get_queryset(request)
        assert isinstance(rows, ScopedQuerySet)
        return rows.visible_to(request.user)

    @admin.display(description="page")
    def page(self, row: M) -> SafeString:
        """A link to the row's page in the portal."""
        return page_link(row)


class ReadOnlyAdmin(_ModelAdmin[M]):
    """Rows to look at: none can be added, changed or deleted by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False


class Observed(Scoped[M], ReadOnlyAdmin[M]):
    """What the buckets say."""


class MembershipInline(_MembershipInline):
    """The airlines of a user."""

    model = Membership
    extra = 0
    autocomplete_fields = ["airline"]


@admin.register(User)
class UserAdmin(_UserAdmin):
    """People and programs that sign in, and the airlines they see."""

    inlines = [MembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "is_staff", "is_active", "last_login"]
    list_filter = ["is_staff", "is_superuser", "is_active", "memberships__airline"]
    date_hierarchy = "date_joined"


class AirlineForm(_AirlineForm):
    """An airline made by a person: its name obeys the contract like one found in a bucket."""

    def clean_name(self) -> str:
        """The name as it stands in keys and addresses. Raises ValidationError where it could stand in neither."""
        name: str = self.cleaned_data["name"]
        try:
            check_name(name)
        except BadName as error:
            raise forms.ValidationError(f"It cannot stand in a key: {error}.") from error
        if any(fold(other) == fold(name) for other in Airline.objects.values_list("name", flat=True)):
            raise forms.ValidationError("There is an airline of that name, or one that differs only in case.")
        return name


@admin.register(Airline)
class AirlineAdmin(Scoped[Airline]):
    """Airlines. The name is fixed once given: it stands in every key."""

    form = AirlineForm
    list_display = ["name", "title", "discovered", "created_at", "page"]
    list_filter = ["discovered"]
    search_fields = ["name", "title"]
    date_hierarchy = "created_at"
    readonly_fields = ["discovered", "created_at", "page"]

    def get_readonly_fields(self, request: HttpRequest, obj: Airline | None = None) -> list[str]:
        """The name too, once the row exists."""
        fixed = ["discovered", "created_at"]
        return ["name", *fixed, "page"] if obj else fixed


@admin.register(Membership)
class MembershipAdmin(Scoped[Membership]):
    """Who sees which airline."""

    list_display = ["user", "airline", "created_at"]
    list_filter = ["airline"]
    list_select_related = ["user", "airline"]
    search_fields = ["user__username", "user__email", "airline__name", "airline__title"]
    autocomplete_fields = ["user", "airline"]
    date_hierarchy = "created_at"


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
                return queryset.held(timezone.now())
            case "late":
                return queryset.late(timezone.now())
            case "failing":
                return queryset.failing()
        return queryset


@admin.register(Job)
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
        context = {"title": "Jobs", "alerts": alerts.look(timezone.now())}
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
        day = "" if job.started_at.date() == timezone.now().date() else f"{job.started_at:%Y-%m-%d} "
        return f"{day}{job.started_at:%H:%M:%S}, {_span(job.started_at)} ago"

    @admin.display(description="took", ordering="took")
    def took(self, job: Job) -> str:
        """How long the last run that ended took."""
        return "" if job.seconds is None else f"{job.seconds:.2f}\N{NO-BREAK SPACE}s"

    @admin.display(description="late by", ordering="-due_at")
    def lag(self, job: Job) -> str:
        """How far past its time it is."""
        return _span(job.due_at) if job.lag(timezone.now()) else ""

    @admin.display(description="failures in a row", ordering="failures")
    def in_a_row(self, job: Job) -> SafeString | str:
        """How many, and what the last one said."""
        return format_html("{}: {}", job.failures, job.error[:200]) if job.failures else ""

    @admin.display(description="next run (UTC)", ordering="due_at")
    def next_run(self, job: Job) -> str:
        """When it is due."""
        if job.state(timezone.now()) in ("running", "away"):
            return ""
        return f"{job.due_at:%H:%M:%S}, in {_span(job.due_at)}" if job.due_at > timezone.now() else "now"

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whoever may change jobs, though there is no form to change one."""
        return request.user.has_perm("ifeportal.change_job")

    @admin.action(description="Run now", permissions=["run"])
    def run_now(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        """Make the chosen jobs due; those that run already are left alone."""
        assert isinstance(rows, JobQuerySet)
        now = timezone.now()
        chosen = list(rows.work().free(now))
        with transaction.atomic():
            due = Job.objects.free(now).filter(pk__in=[job.pk for job in chosen]).locked().update(due_at=now)
        for job in chosen:
            self.log_change(request, job, "Run now")
        self.message_user(request, f"Due now: {due}. Running already, or not to be run: {rows.count() - due}.")


def _span(then: datetime) -> str:
    """From now to a moment, or back, as `45 s`, `12 min` or `5 h`."""
    seconds = int(abs((timezone.now() - then).total_seconds()))
    if seconds < 120:
        return f"{seconds}\N{NO-BREAK SPACE}s"
    number, unit = (seconds // 60, "min") if seconds < 7200 else (seconds // 3600, "h")
    return f"{number}\N{NO-BREAK SPACE}{unit}"


@admin.register(Change)
class ChangeAdmin(Observed[Change]):
    """The feed: the newest state of everything that browsers are told of."""

    list_display = ["rev", "topic", "object", "op", "airline", "tail", "campaign"]
    list_filter = ["topic", "op", "airline"]
    list_select_related = ["airline"]
    search_fields = ["tail", "campaign"]


# The pacemaker decides what runs when; a form that runs any function by name would be a way in.
admin.site.unregister(Schedule)
admin.site.unregister(TokenProxy)


@admin.register(TokenProxy)
class TokenAdmin(DrfTokenAdmin):
    """Tokens of the API. A whole key is shown once, in the message after it is made, and never kept elsewhere."""

    list_display = ["user", "begins_with", "created", "revoke"]
    list_display_links = None
    list_select_related: ClassVar[list[str]] = ["user"]
    autocomplete_fields = ["user"]
    date_hierarchy = "created"

    @admin.display(description="key")
    def begins_with(self, token: TokenProxy) -> str:
        """Enough of the key to tell one from another."""
        return f"{token.key[:6]}…"

    @admin.display(description="")
    def revoke(self, token: TokenProxy) -> SafeString:
        """A link to the page that asks whether to delete the token."""
        address = reverse("admin:authtoken_tokenproxy_delete", args=[token.user_id])
        return format_html('<a href="{}">revoke</a>', address)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A token is made and revoked, not changed."""
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TokenProxy | None:
        """The token of the user of that id, its key cut so that no page or history entry can show it."""
        token: TokenProxy | None = super().get_object(request, object_id, from_field)
        if token is not None:
            token.key = self.begins_with(token)
        return token

    def delete_model(self, request: HttpRequest, obj: TokenProxy) -> None:
        """Revoke the token; found by its user, as the key in hand is cut."""
        TokenProxy.objects.filter(user=obj.user).delete()

    def log_addition(self, request: HttpRequest, obj: TokenProxy, message: Any) -> LogEntry:
        """Enter it in the history; Django's own entry would hold the key."""
        assert request.user.is_authenticated
        return LogEntry.objects.create(
            user=request.user,
            content_type=ContentType.objects.get_for_model(obj, for_concrete_model=False),
            object_id=str(obj.user_id),
            object_repr=f"token of {obj.user}"[:200],
            action_flag=ADDITION,
            change_message=json.dumps(message),
        )
