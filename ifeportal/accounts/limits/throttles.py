"""Limits of how often one network may use a sign-in page. Counted in the database, before the page is served."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import wraps
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from ifeportal.accounts.limits import attempts
from ifeportal.accounts.limits.attempts import Limit
from ifeportal.accounts.limits.networks import client_network, client_site

View = Callable[..., HttpResponseBase]
SITE_FACTOR: Final = 2  # times the limit of a network, for an IPv6 site with its 65,536 networks
SIGN_INS: Final = Limit("sign-in", 30, 60)
CONFIRMATIONS: Final = Limit("confirm", 30, 60)
PASSKEY_SIGN_INS: Final = Limit("passkey", 40, 60)  # asking for a challenge, and answering it
SSO_SIGN_INS: Final = Limit("single-sign-on", 30, 60)
RESET_REQUESTS: Final = Limit("reset", 20, 60)
RESET_KEYS: Final = Limit("reset-key", 20, 60)


def limited(limit: Limit, view: View, methods: Collection[str] = ("POST",)) -> View:
    """Return the view, limited to `limit` requests of one network with one of these methods."""

    @wraps(view)
    def counted(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in methods and (until := refused_until(limit, request)) is not None:
            return too_many_attempts(request, until)
        return view(request, *args, **kwargs)

    return counted


def refused_until(limit: Limit, request: HttpRequest) -> datetime | None:
    """Count a request of the client's network. Return None if it is allowed, else when one is allowed again (UTC)."""
    site = replace(limit, scope=f"{limit.scope}-site", count=limit.count * SITE_FACTOR)
    for each, subject in ((limit, client_network(request)), (site, client_site(request))):
        if subject is not None and not attempts.take(each, subject):
            return attempts.next_at(each, subject)
    return None


def too_many_attempts(request: HttpRequest, until: datetime) -> HttpResponse:
    """Return the page with status 429, and when to come again."""
    page = render(request, "429.html", status=429)
    page["Retry-After"] = str(max(int((until - timezone.now()).total_seconds()), 1))
    page["Cache-Control"] = "no-store"
    return page
