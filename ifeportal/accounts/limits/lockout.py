"""Lock-out after failed sign-ins, for django-axes. Every password is counted before it is checked.

A user name is locked for the network (and, for IPv6, the site) that the wrong passwords come from. After
NAME_FAILURES of them from all networks together, further ones are only checked slowly, except on a device that the user
has used before, so that no attack locks a user out. Touches failed attempts and counts.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from ifeportal.accounts.limits import attempts
from ifeportal.accounts.limits.attempts import Limit
from ifeportal.accounts.limits.devices import known_device
from ifeportal.accounts.limits.networks import client_network, client_site
from ifeportal.conf.authentication import COOL_OFF, FAILURE_LIMIT

USERNAME_LIMIT: Final = 255  # characters stored of an attempted user name
SITE_FAILURES: Final = Limit("password-site", 7, COOL_OFF.total_seconds())  # by name and IPv6 /48
DEVICE_FAILURES: Final = Limit("password-device", 10, COOL_OFF.total_seconds())  # by name and known device
NAME_FAILURES: Final = Limit("password-name", 100, 86_400)  # by name (NIST SP 800-63B, 5.2.2)
SLOW_ATTEMPTS: Final = Limit("password-slow", 1, 60)  # by name, after NAME_FAILURES
_ATTEMPT: Final = "password_attempt"  # attribute of a request


@dataclass(slots=True)
class PasswordAttempt:
    """A password that was counted for `name` from `network`. It is checked unless `refused_until` (UTC) is set."""

    name: str
    network: str
    counted: list[tuple[Limit, str]] = field(default_factory=list)
    refused_until: datetime | None = None
    is_spread: bool = False


class CountFirst(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no annotations
    """Counts an attempt when axes asks whether it is allowed, instead of after it failed."""

    def is_allowed(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> bool:
        attempt = _begin(request, attempted_username(request, credentials))
        setattr(request, _ATTEMPT, attempt)
        return attempt.refused_until is None

    def user_login_failed(
        self, sender: object, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> None:
        """Lock the user out with the last allowed attempt, so that its answer says so."""
        attempt: PasswordAttempt | None = getattr(request, _ATTEMPT, None)
        if request is None or attempt is None:
            return
        locked = _locked_until(attempt.name, attempt.network)
        attempt.refused_until = attempt.refused_until or locked
        request.axes_locked_out = attempt.refused_until is not None  # type: ignore[attr-defined]
        request.axes_credentials = credentials  # type: ignore[attr-defined]

    def user_logged_in(self, sender: object, request: HttpRequest, user: Any, **kwargs: Any) -> None:
        """Forget the failures from this network and device. Those from elsewhere remain counted."""
        name, network = normalize_username(user.get_username()), client_network(request)
        _pair(name, network).delete()
        for limit, subject in _narrow_limits(request, name):
            attempts.clear(limit, subject)


def withdraw(request: HttpRequest) -> None:
    """Uncount the password of this request: it was right, or it was not checked."""
    attempt: PasswordAttempt | None = getattr(request, _ATTEMPT, None)
    if attempt is not None and attempt.refused_until is None:
        _give_back(attempt)
        delattr(request, _ATTEMPT)


def attempted_username(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """Return the attempted user name, normalized so that its variants count together; "" if there is none."""
    name = (credentials or {}).get("username")
    return normalize_username(name) if isinstance(name, str) else ""


def normalize_username(name: str) -> str:
    """Return the name as attempts are counted for it."""
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    # Neither NUL nor a surrogate can be stored in PostgreSQL.
    return "".join(char for char in plain if char != "\0" and not "\ud800" <= char <= "\udfff")[:USERNAME_LIMIT]


def lockout_response(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None) -> HttpResponse:
    """Return the locked-out page (429), with the time at which passwords are accepted again."""
    attempt: PasswordAttempt = getattr(request, _ATTEMPT)
    now = timezone.now()
    until = attempt.refused_until or now
    page = render(request, "account/locked.html", {"until": until, "is_spread": attempt.is_spread}, status=429)
    page["Retry-After"] = str(max(int((until - now).total_seconds()), 1))
    page["Cache-Control"] = "no-store"
    return page


def _begin(request: HttpRequest, name: str) -> PasswordAttempt:
    """Count a password, against the narrowest limit first. A refused one counts against none."""
    attempt = PasswordAttempt(name, client_network(request))
    if not _count_pair(attempt, request.path):
        attempt.refused_until = _locked_until(attempt.name, attempt.network) or timezone.now()
        return attempt
    for limit, subject in _narrow_limits(request, name):
        if not attempts.take(limit, subject):
            return _refuse(attempt, limit, subject)
        attempt.counted.append((limit, subject))
    if known_device(request, name) is not None:
        return attempt
    if attempts.take(NAME_FAILURES, name):
        attempt.counted.append((NAME_FAILURES, name))
    elif not attempts.take(SLOW_ATTEMPTS, name):
        attempt.is_spread = True
        return _refuse(attempt, SLOW_ATTEMPTS, name)
    return attempt


def _narrow_limits(request: HttpRequest, name: str) -> list[tuple[Limit, str]]:
    """Return the limits besides that of name and network, each with its subject."""
    device, site = known_device(request, name), client_site(request)
    if device is not None:
        return [(DEVICE_FAILURES, f"{name} {device}")]
    return [] if site is None else [(SITE_FAILURES, f"{name} {site}")]


def _refuse(attempt: PasswordAttempt, limit: Limit, subject: str) -> PasswordAttempt:
    _give_back(attempt)
    attempt.refused_until = attempts.next_at(limit, subject)
    return attempt


def _give_back(attempt: PasswordAttempt) -> None:
    pair = _pair(attempt.name, attempt.network)
    pair.filter(failures_since_start=1).delete()
    pair.filter(failures_since_start__gt=1).update(failures_since_start=F("failures_since_start") - 1)
    for limit, subject in attempt.counted:
        attempts.give_back(limit, subject)


def _count_pair(attempt: PasswordAttempt, path: str) -> bool:
    """Count the attempt of name and network, in the row that the admin shows. Return False if it is locked."""
    if _update_pair(attempt, path):
        return True
    new = AccessAttempt(username=attempt.name, ip_address=attempt.network, user_agent="", failures_since_start=0)
    AccessAttempt.objects.bulk_create([new], ignore_conflicts=True)
    return _update_pair(attempt, path)


def _update_pair(attempt: PasswordAttempt, path: str) -> bool:
    now = timezone.now()
    is_over = Q(attempt_time__lte=now - COOL_OFF)
    allowed = _pair(attempt.name, attempt.network).filter(is_over | Q(failures_since_start__lt=FAILURE_LIMIT))
    count = Case(When(is_over, then=Value(1)), default=F("failures_since_start") + 1)
    return bool(allowed.update(failures_since_start=count, attempt_time=now, path_info=path[:255]))


def _locked_until(name: str, network: str) -> datetime | None:
    """Return until when the name is locked for the network (UTC); None if it is not."""
    latest = (
        _pair(name, network)
        .filter(failures_since_start__gte=FAILURE_LIMIT, attempt_time__gt=timezone.now() - COOL_OFF)
        .values_list("attempt_time", flat=True)
        .first()
    )
    return None if latest is None else latest + COOL_OFF


def _pair(name: str, network: str) -> QuerySet[AccessAttempt]:
    # Without the browser, which the client chooses: with it, each made-up browser would be counted separately.
    rows: QuerySet[AccessAttempt] = AccessAttempt.objects.filter(username=name, ip_address=network, user_agent="")
    return rows
