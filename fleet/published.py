"""Rows as the change feed takes them. Pure; what must be loaded with a row is told in `fleet.states`."""

from __future__ import annotations

from fleet.models import Load, Tail, Transfer
from fleet.states import load_state, tail_state, transfer_state
from ifeportal.live.feed import Published


def transfer_published(row: Transfer) -> Published:
    """A transfer, as the feed takes it."""
    tail = row.load.tail
    return Published("transfer", row.pk, tail.airline_id, tail.name, row.load.campaign.name, transfer_state(row))


def load_published(row: Load) -> Published:
    """A load, as the feed takes it."""
    return Published("load", row.pk, row.tail.airline_id, row.tail.name, row.campaign.name, load_state(row))


def tail_published(row: Tail) -> Published:
    """A tail, as the feed takes it."""
    return Published("tail", row.pk, row.airline_id, tail=row.name, state=tail_state(row))
