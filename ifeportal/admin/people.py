"""People on the first page of the admin, and the filters of the list of users that its counts link to."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from axes.models import AccessAttempt
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from ifeportal.accounts import second_factor
from ifeportal.admin import overview
from ifeportal.admin.overview import Entry, Link, Section
from ifeportal.conf.authentication import COOL_OFF, FAILURE_LIMIT
from ifeportal.models import User

SHOWN: Final = 3  # users of each kind; the lists have the others


def without_airline() -> Q:
    """Return the condition of users who can sign in and see nothing."""
    return Q(is_active=True, is_staff=False, memberships=None)


def lacks_second_factor() -> Q:
    """Return the condition of users who must set up a second factor and have none."""
    return Q(is_active=True, pk__in=second_factor.users_lacking_one().values("pk"))


def locked_attempts(now: datetime) -> QuerySet[AccessAttempt]:
    """Return the failed sign-ins that lock a user out now."""
    rows: QuerySet[AccessAttempt] = AccessAttempt.objects.filter(
        failures_since_start__gte=FAILURE_LIMIT, attempt_time__gt=now - COOL_OFF
    )
    return rows


class NeedsFilter(admin.SimpleListFilter):
    """Filter users by what they lack."""

    title = "missing"
    parameter_name = "missing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("airline", "an airline"),
            ("second_factor", "a required second factor"),
            ("sign_in", "a first sign-in"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "airline":
                return queryset.filter(without_airline())
            case "second_factor":
                return queryset.filter(lacks_second_factor())
            case "sign_in":
                return queryset.filter(is_active=True, last_login=None)
        return queryset


class LockedFilter(admin.SimpleListFilter):
    """Filter failed sign-ins by whether they lock a user out now."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("locked", "locked out now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(pk__in=locked_attempts(timezone.now())) if self.value() == "locked" else queryset


def section(request: HttpRequest) -> Section | None:
    """Return the users who need something; None without permission to see users. Five statements at most."""
    its = admin.site.get_model_admin(User)
    if not its.has_view_permission(request):
        return None
    listing = reverse("admin:ifeportal_user_changelist")
    counts = User.objects.order_by().aggregate(
        active=Count("pk", filter=Q(is_active=True), distinct=True),
        airline=Count("pk", filter=without_airline(), distinct=True),
        factor=Count("pk", filter=lacks_second_factor(), distinct=True),
        sign_in=Count("pk", filter=Q(is_active=True, last_login=None), distinct=True),
    )
    locked = _locked(request)
    may_add = its.has_add_permission(request)
    return Section(
        title="People",
        empty="All users are set up: none is locked out, without an airline, or without a required second factor.",
        entries=[*locked, *_lacking_airline(), *_lacking_factor()],
        counts=[
            overview.Count("Users", counts["active"], listing),
            overview.Count("Without an airline", counts["airline"], f"{listing}?missing=airline", problem=True),
            overview.Count(
                "Without a required second factor", counts["factor"], f"{listing}?missing=second_factor", problem=True
            ),
            overview.Count("Never signed in", counts["sign_in"], f"{listing}?missing=sign_in"),
        ],
        actions=[Link("Add user", reverse("admin:ifeportal_user_add"))] if may_add else [],
        more=Link("All users", listing),
    )


def _lacking_airline() -> list[Entry]:
    return _users(without_airline(), "No airline", "waiting", "Sees an empty portal. Choose an airline and a role.")


def _lacking_factor() -> list[Entry]:
    text = "Must set up a second factor at the next sign-in."
    return _users(lacks_second_factor(), "No second factor", "at_risk", text)


def _users(condition: Q, state: str, shape: str, detail: str) -> list[Entry]:
    return [
        Entry(user.get_username(), _page(user), state, shape, detail, [Link("Open", _page(user))])
        for user in User.objects.filter(condition).order_by("-date_joined", "pk")[:SHOWN]
    ]


def _page(user: User) -> str:
    return reverse("admin:ifeportal_user_change", args=[user.pk])


def _locked(request: HttpRequest) -> list[Entry]:
    its = admin.site.get_model_admin(AccessAttempt)
    if not its.has_view_permission(request):
        return []
    may_unlock = its.has_delete_permission(request)
    page = "admin:axes_accessattempt_delete" if may_unlock else "admin:axes_accessattempt_change"
    return [
        Entry(
            attempt.username,
            reverse("admin:axes_accessattempt_change", args=[attempt.pk]),
            "Locked out",
            "stalled",
            f"Until {attempt.attempt_time + COOL_OFF:%H:%M} UTC, after wrong passwords from {attempt.ip_address}.",
            [Link("Unlock…" if may_unlock else "Open", reverse(page, args=[attempt.pk]))],
        )
        for attempt in locked_attempts(timezone.now()).order_by("-attempt_time")[:SHOWN]
    ]


overview.add_section("people", 20, section)
