"""Stored totals over loads, per campaign and airline, and over transfers per item.

`fleet.stats.totals` writes them in every transaction that changes the rows they count.
"""

from __future__ import annotations

from django.db import models

from campaigns.models import Campaign
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


def _count() -> models.PositiveIntegerField[int, int]:
    return models.PositiveIntegerField(default=0, db_default=0)


def _sum() -> models.BigIntegerField[int, int]:
    return models.BigIntegerField(default=0, db_default=0)


def _known_sum() -> models.BigIntegerField[int | None, int | None]:
    return models.BigIntegerField(null=True, blank=True)


class LoadTotals(models.Model):
    """Totals of the loads of tails in service, as `fleet.stats.rollup.Rollup` describes them.

    All figures count stored rows and their stored flags (`stalled`, `silent`, `at_risk`): none depends on the clock.
    Each state counts the loads in that state, `proof_*` the complete loads by verification. Sums of bytes are in two
    halves that `fleet.stats.rollup.join_sum` joins: `bytes_held` of all loads, the others of those of known size.
    `newest_load` is the highest id of a load.
    """

    tails = _count()
    tails_out = _count()
    loads = _count()
    loads_unknown = _count()
    at_risk = _count()
    failed = _count()
    silent = _count()
    stalled = _count()
    contradiction = _count()
    waiting = _count()
    restarted = _count()
    loading = _count()
    pending = _count()
    complete = _count()
    deleted = _count()
    proof_claimed = _count()
    proof_size = _count()
    proof_hash = _count()
    proof_signed = _count()
    items_total = _known_sum()
    items_done = _sum()
    items_failed = _sum()
    bytes_done_high = _sum()
    bytes_done_low = _sum()
    bytes_held_high = _sum()
    bytes_held_low = _sum()
    bytes_total_high = _known_sum()
    bytes_total_low = _known_sum()
    as_of = models.DateTimeField(null=True, blank=True)
    newest_load = _sum()

    class Meta:
        abstract = True


class CampaignTotalsQuerySet(ScopedQuerySet["CampaignTotals"]):
    airline_path = "campaign__airline"


class CampaignTotals(LoadTotals):
    """Totals of a campaign's loads. `tails` and `tails_out` are those with a load. Without a row all are 0."""

    campaign = models.OneToOneField(Campaign, primary_key=True, on_delete=models.CASCADE, related_name="totals")

    objects = CampaignTotalsQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "campaign totals"

    def __str__(self) -> str:
        return f"Totals of {self.campaign}"


class AirlineTotalsQuerySet(ScopedQuerySet["AirlineTotals"]):
    pass


class AirlineTotals(LoadTotals):
    """Totals of an airline's loads and tails. `ready` counts the tails in service that completed all their loads.

    Writers lock this row before they count, so it also orders the writers of an airline. `newest_tail` is the highest
    id of a tail. The job `check_totals` sets `checked_at` and, where it had to correct a row, the other three columns.
    """

    airline = models.OneToOneField(Airline, primary_key=True, on_delete=models.CASCADE, related_name="totals")
    ready = _count()
    newest_tail = _sum()
    checked_at = models.DateTimeField(null=True, blank=True, help_text="When all totals were last counted again.")
    corrections = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Number of stored rows that a check had to correct."
    )
    corrected_at = models.DateTimeField(null=True, blank=True, help_text="When a check last corrected a row.")
    correction = models.TextField(blank=True, db_default="", help_text="The rows it corrected.")

    objects = AirlineTotalsQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "airline totals"

    def __str__(self) -> str:
        return f"Totals of {self.airline}"


class ItemTotalsQuerySet(ScopedQuerySet["ItemTotals"]):
    airline_path = "campaign__airline"


class ItemTotals(models.Model):
    """How many tails in service have completed, are loading or failed an item of a campaign.

    There is a row for every item that a tail has a transfer of. `newest` is the highest id of these transfers.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="item_totals", db_index=False)
    content = models.CharField(max_length=200, help_text="The item's name, without .tgz.")
    complete = models.IntegerField(default=0, db_default=0)
    loading = models.IntegerField(default=0, db_default=0)
    failed = models.IntegerField(default=0, db_default=0)
    newest = models.BigIntegerField(default=0, db_default=0)

    objects = ItemTotalsQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "item totals"
        ordering = ["campaign", "content"]
        constraints = [models.UniqueConstraint(fields=["campaign", "content"], name="item_totals_once")]

    def __str__(self) -> str:
        return f"Totals of {self.content} of {self.campaign}"
