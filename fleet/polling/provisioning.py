"""Rows for the campaigns and tails whose names were found in the status bucket. Touches campaigns, tails and totals."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from campaigns.models import Campaign, ContentItem
from fleet.feed import publish_totals
from fleet.models import Tail
from fleet.reconcile.diff import ListingDiff
from fleet.reconcile.limits import Limits
from fleet.reconcile.problems import Problem
from ifeportal.models import Airline
from loader.contract.keys import StatusKey


@dataclass(frozen=True, slots=True)
class ProvisionedRows:
    """All campaigns and the ids of all tails of an airline, by name."""

    campaigns: dict[str, Campaign]
    tails: dict[str, int]

    def has_campaign(self, key: StatusKey) -> bool:
        """Return whether the campaign of the object has a row; a heartbeat needs none."""
        return key.kind == "heartbeat" or key.campaign in self.campaigns


def provision_rows(airline: Airline, limits: Limits, found: ListingDiff, prefix: str) -> ProvisionedRows:
    """Create the rows of new names within `limits`, and return all rows of the airline.

    Names without a row become a problem of `prefix`.
    """
    if found.new_campaigns or found.new_tails:
        _create_rows(airline, limits, found)
    campaigns = {row.name: row for row in Campaign.objects.filter(airline=airline).defer("extra")}
    tails = dict(Tail.objects.filter(airline=airline).values_list("name", "pk"))
    _report_left_out("campaigns", set(found.new_campaigns) - campaigns.keys(), found, prefix)
    _report_left_out("tails", set(found.new_tails) - tails.keys(), found, prefix)
    return ProvisionedRows(campaigns, tails)


def _create_rows(airline: Airline, limits: Limits, found: ListingDiff) -> None:
    """Create rows of the new names, and publish the campaigns and the airline's number of tails."""
    with transaction.atomic():
        campaigns, tails = _rows_of(airline)
        if found.new_campaigns:
            _create_campaigns(airline, limits, found.new_campaigns)
        if found.new_tails:
            _create_tails(airline, limits, found)
        all_campaigns, all_tails = _rows_of(airline)
        if all_campaigns > campaigns or all_tails > tails:  # otherwise the names have no room
            publish_totals([airline.pk], all_campaigns - campaigns)


def _rows_of(airline: Airline) -> tuple[set[int], int]:
    """Return the ids of the airline's campaigns, and its number of tails."""
    campaigns = set(Campaign.objects.filter(airline=airline).values_list("pk", flat=True))
    return campaigns, Tail.objects.filter(airline=airline).count()


def _create_campaigns(airline: Airline, limits: Limits, names: list[str]) -> None:
    space = max(limits.campaigns_in_all - Campaign.objects.count(), 0)
    rows = [Campaign(airline=airline, name=name, discovered=True) for name in names[:space]]
    Campaign.objects.bulk_create(rows, ignore_conflicts=True)


def _create_tails(airline: Airline, limits: Limits, found: ListingDiff) -> None:
    space = max(limits.tails_in_all - Tail.objects.count(), 0)
    rows = [
        Tail(airline=airline, name=name, discovered=True, keys=found.keys.get(name, 0))
        for name in found.new_tails[:space]
    ]
    Tail.objects.bulk_create(rows, ignore_conflicts=True)


def _report_left_out(kind: str, names: set[str], found: ListingDiff, prefix: str) -> None:
    if names:
        detail = f"The limit of {kind} is reached, or a name differs from another only in case."
        found.problems.add(Problem(prefix, f"TOO_MANY_{kind.upper()}", detail))


def load_sizes(campaigns: dict[int, str]) -> dict[str, dict[str, int]]:
    """Return the listed items (name to bytes) of campaigns (id to name), by the campaign's name; one query.

    Call it after the campaigns' own rows were read: if a new manifest comes in between, the loads stay marked with the
    older one and are compared again.
    """
    sizes: dict[str, dict[str, int]] = {name: {} for name in campaigns.values()}
    items = ContentItem.objects.filter(campaign__in=campaigns, listed=True).order_by()
    for campaign, name, size in items.values_list("campaign", "name", "size"):
        sizes[campaigns[campaign]][name] = size
    return sizes
