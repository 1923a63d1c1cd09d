"""Acknowledge loads that need attention, with an audit entry. For pages and API alike."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request

from fleet.attention.queries import create_acknowledgement, withdraw_acknowledgements
from fleet.models import Acknowledgement, Load
from ifeportal import audit


def acknowledge(request: HttpRequest | Request, load: Load, reason: str, note: str) -> Acknowledgement | None:
    """Note that the user of the request sees to the load; None if it does not need attention for that any more."""
    assert request.user.is_authenticated
    with transaction.atomic():
        taken = create_acknowledgement(load, reason, request.user, note, timezone.now())
        if taken is not None:
            _audit(request, load, "load.acknowledged", {reason: ("", note)})
    return taken


def withdraw(request: HttpRequest | Request, load: Load, reason: str) -> bool:
    """Let it need attention for that again; whether anybody had seen to it."""
    with transaction.atomic():
        taken_back = withdraw_acknowledgements(load, reason, timezone.now()) > 0
        if taken_back:
            _audit(request, load, "load.acknowledgement withdrawn", {})
    return taken_back


def _audit(request: HttpRequest | Request, load: Load, action: str, changes: audit.Changes) -> None:
    target = f"{load.campaign.name} on {load.tail.name}"
    audit.record(request, action, target, airline=load.tail.airline, changes=changes)
