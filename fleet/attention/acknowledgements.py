"""Acknowledge loads that need attention, with an audit entry. Used by pages and API."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.utils import timezone

from fleet.attention.keeping import keep_acknowledgement, lock_load
from fleet.attention.queries import create_acknowledgement, withdraw_acknowledgements
from fleet.models import Acknowledgement, Load
from ifeportal.audit import Actor, Changes, record

NOTE_LIMIT: Final = 1_000  # characters


def acknowledge(actor: Actor, load: Load, reason: str, note: str) -> Acknowledgement | None:
    """Acknowledge the load for the actor, a user. Return None if it no longer needs attention for that reason."""
    assert actor.user is not None
    with transaction.atomic():
        lock_load(load)
        taken = create_acknowledgement(load, reason, actor.user, note, timezone.now())
        if taken is not None:
            keep_acknowledgement(load, reason, taken)
            _audit(actor, load, "load.acknowledged", {reason: ("", note)})
    return taken


def withdraw(actor: Actor, load: Load, reason: str) -> bool:
    """Withdraw the acknowledgements of the load for that reason. Return whether there were any."""
    with transaction.atomic():
        lock_load(load)
        taken_back = withdraw_acknowledgements(load, reason, timezone.now()) > 0
        if taken_back:
            keep_acknowledgement(load, reason, None)
            _audit(actor, load, "load.acknowledgement withdrawn", {})
    return taken_back


def _audit(actor: Actor, load: Load, action: str, changes: Changes) -> None:
    target = f"{load.campaign.name} on {load.tail.name}"
    record(actor, action, target, airline=load.tail.airline, changes=changes)
