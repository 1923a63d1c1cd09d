"""Rows as the change feed takes them. Pure; what must be loaded with a row is told in `fleet.states`."""

from __future__ import annotations

from campaigns.models import Campaign
from fleet.models import Load, Tail, Transfer
from fleet.states import airline_state, campaign_state, load_state, tail_state, transfer_state
from ifeportal.live.feed import Published
from ifeportal.models import Airline


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


def campaign_published(row: Campaign) -> Published:
    """A campaign, as the feed takes it."""
    return Published("campaign", row.pk, row.airline_id, campaign=row.name, state=campaign_state(row))


def airline_published(row: Airline) -> Published:
    """An airline, as the feed takes it."""
    return Published("airline", row.pk, row.pk, state=airline_state(row))
