"""Lockout after failed sign-ins, for django-axes: who tries, from which network, and the page until when.

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

from ifeportal import audit
from ifeportal.conf.authentication import COOL_OFF

USERNAME_LIMIT = 255  # characters kept of a name that was tried


def client_network(request: HttpRequest) -> str | None:
    """From where somebody tries: the address, of IPv6 the /64, since whoever has one has 2**64 addresses in it."""
    found = audit.client_address(request)
    if found is None or ":" not in found:
        return found
    address = ipaddress.IPv6Address(found)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)


def attempted_username(request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """The name of an attempt to sign in, one for all ways of writing it; None if there is none."""
    name = (credentials or {}).get("username")
    if not isinstance(name, str):
        return None
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    return "".join(sign for sign in plain if sign != "\0" and not "\ud800" <= sign <= "\udfff")[:USERNAME_LIMIT]


def lockout_response(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None) -> HttpResponse:
    """What somebody gets who was wrong too often: until when nothing is taken from them."""
    latest = AccessAttempt.objects.filter(
        username=attempted_username(request, credentials), ip_address=client_network(request)
    ).aggregate(at=Max("attempt_time"))["at"]
    until = (latest or timezone.now()) + COOL_OFF
    wait = max(int((until - timezone.now()).total_seconds()), 1)
    answer = render(request, "account/locked.html", {"until": until, "minutes": -(-wait // 60)}, status=429)
    answer["Retry-After"], answer["Cache-Control"] = str(wait), "no-store"
    return answer
