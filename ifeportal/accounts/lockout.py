"""Lockout after failed sign-ins, for django-axes: user name and network of an attempt, and the locked-out page.

Reads failed attempts.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from typing import Any

from axes.models import AccessAttempt
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from rest_framework.request import Request

from ifeportal.client_address import client_address
from ifeportal.conf.authentication import COOL_OFF

USERNAME_LIMIT = 255  # characters stored of an attempted user name


def client_network(request: HttpRequest | Request) -> str | None:
    """Return the network of the client: its IPv4 address, or the /64 of its IPv6 address.

    A single IPv6 subscriber has a /64, so counting per address would allow 2**64 times the attempts.
    """
    address = client_address(request)
    if address is None or ":" not in address:
        return address
    return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)


def attempted_username(request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """Return the attempted user name, normalized so that its variants count together; None if there is none."""
    name = (credentials or {}).get("username")
    if not isinstance(name, str):
        return None
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    # Neither NUL nor a surrogate can be stored in PostgreSQL.
    return "".join(char for char in plain if char != "\0" and not "\ud800" <= char <= "\udfff")[:USERNAME_LIMIT]


def lockout_response(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None) -> HttpResponse:
    """Return the locked-out page (429), with the time at which passwords are accepted again."""
    latest = AccessAttempt.objects.filter(
        username=attempted_username(request, credentials), ip_address=client_network(request)
    ).aggregate(at=Max("attempt_time"))["at"]
    until = (latest or timezone.now()) + COOL_OFF
    wait = max(int((until - timezone.now()).total_seconds()), 1)
    page = render(request, "account/locked.html", {"until": until}, status=429)
    page["Retry-After"], page["Cache-Control"] = str(wait), "no-store"
    return page
