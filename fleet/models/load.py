"""Loads (a campaign on a tail) and their transfers (an item on a tail), with the constraints they share."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F, Q

from campaigns.models import Campaign
from fleet.choices import Inconsistency, Status, Verification
from fleet.models.tail import Tail
from fleet.state import forecast, precedence
from ifeportal.access import ScopedQuerySet

LoadKey = tuple[str, str]  # names of its tail and campaign, among the loads of one airline


class ProgressFigures:
    """Figures that follow from the fields of a load or transfer, which subclasses have: models, or tuples for lists."""

    __slots__ = ()
    status: Any
    stalled: Any
    bytes_done: Any
    bytes_total: Any
    rate_bps: Any

    @property
    def percent(self) -> int | None:
        """Return whole percent of the bytes, rounded down so that 100 means every byte; None without a total."""
        if self.bytes_total is None:
            return None
        if self.status == Status.COMPLETE:
            return 100
        return int(self.bytes_done * 100 // self.bytes_total) if self.bytes_total else 0

    @property
    def eta_seconds(self) -> int | None:
        """Return seconds to the end at the current rate; None if unknown."""
        if self.status != Status.LOADING or self.stalled or not self.rate_bps or self.bytes_total is None:
            return None
        return -int(-(self.bytes_total - self.bytes_done) // self.rate_bps)


class ProgressFields(ProgressFigures, models.Model):
    """Fields that loads and transfers share. Bytes; bytes per second; UTC. Unknown is null, never 0."""

    status = models.CharField(max_length=8, choices=Status, default=Status.PENDING)
    stalled = models.BooleanField(
        default=False, help_text="Loading, but no byte came for the airline's `stalled after` minutes."
    )
    bytes_done = models.BigIntegerField(default=0, help_text="Never above bytes_total.")
    bytes_total = models.BigIntegerField(null=True, blank=True)
    rate_bps = models.BigIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    as_of = models.DateTimeField(
        null=True, blank=True, help_text="LastModified of the newest object that these figures come from."
    )
    moved_at = models.DateTimeField(null=True, blank=True, help_text="When the portal last saw bytes_done change.")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


def progress_constraints(name: str) -> list[models.BaseConstraint]:
    """Return the check constraints of a model with these fields; `name` is the prefix of their names."""
    return [
        models.CheckConstraint(condition=Q(status__in=Status.values), name=f"{name}_status_known"),
        models.CheckConstraint(
            condition=Q(bytes_done__gte=0) & (Q(bytes_total__isnull=True) | Q(bytes_done__lte=F("bytes_total"))),
            name=f"{name}_bytes_within_total",
        ),
        models.CheckConstraint(
            condition=~Q(status=Status.COMPLETE) | Q(bytes_total__isnull=False, bytes_done=F("bytes_total")),
            name=f"{name}_complete_is_whole",
        ),
    ]


class LoadQuerySet(ScopedQuerySet["Load"]):
    airline_path = "tail__airline"


class LoadFigures(ProgressFigures):
    """Figures that follow from the fields of a load, which subclasses have: the model, or tuples for lists."""

    __slots__ = ()
    silent: Any
    waiting: Any
    restarted: Any
    contradiction: Any
    effective_bps: Any
    at_risk: Any
    items_total: Any
    items_done: Any
    items_failed: Any
    error_code: Any
    error: Any
    error_content: Any

    @property
    def state(self) -> str:
        """Return the state, a word of `State`."""
        return precedence.state_of(
            self.status,
            silent=self.silent,
            stalled=self.stalled,
            contradiction=self.contradiction,
            waiting=self.waiting,
            restarted=self.restarted,
        )

    @property
    def eta_latest_seconds(self) -> int | None:
        """Return seconds to the end at the slower of the current and the effective rate; None if unknown."""
        if self.status != Status.LOADING or self.bytes_total is None:
            return None
        band = forecast.eta_range(self.bytes_total - self.bytes_done, self.rate_bps, self.effective_bps)
        return band[1] if band else None


class Load(LoadFigures, ProgressFields):
    """One campaign on one tail, with the totals of its transfers.

    `error` is the one to show first: that of `campaign.json.error`, else the newest of a failed item, named by
    `error_content`. Once the manifest is known, only the items it lists are counted.
    """

    tail = models.ForeignKey(Tail, on_delete=models.CASCADE, related_name="loads")
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="loads")
    items_total = models.PositiveIntegerField(null=True, blank=True)
    items_done = models.PositiveIntegerField(default=0)
    items_failed = models.PositiveIntegerField(default=0)
    error_content = models.CharField(max_length=200, blank=True, help_text="The item whose error this is.")
    campaign_error = models.TextField(blank=True, help_text="Text of campaign.json.error.")
    campaign_error_code = models.CharField(max_length=40, blank=True)
    error_etag = models.CharField(
        max_length=200, blank=True, help_text="ETag of campaign.json.error; empty if there is none."
    )
    error_at = models.DateTimeField(null=True, blank=True, help_text="LastModified of campaign.json.error.")
    manifest_etag = models.CharField(
        max_length=200, blank=True, help_text="ETag of the manifest that the transfers were last compared with."
    )
    silent = models.BooleanField(default=False, db_default=False, help_text="Loading, but its tail is silent.")
    waiting = models.BooleanField(
        default=False,
        db_default=False,
        help_text="The loader reports that it waits or is paused, such as without a link or outside its hours.",
    )
    restarted = models.BooleanField(default=False, db_default=False, help_text="The bytes of an item went down.")
    contradiction = models.CharField(max_length=16, choices=Inconsistency, blank=True, default="", db_default="")
    at_risk = models.BooleanField(
        default=False, db_default=False, help_text="The load may not be complete when the exhibition starts."
    )
    effective_bps = models.BigIntegerField(
        null=True, blank=True, help_text="Observed bytes per second over several days, pauses included."
    )
    effective_since = models.DateTimeField(
        null=True, blank=True, help_text="Start of the measurement of the effective rate."
    )
    effective_base = models.BigIntegerField(
        default=0, db_default=0, help_text="Bytes at the start of that measurement."
    )
    proof = models.CharField(max_length=6, choices=Verification, blank=True, default="", db_default="")
    archived_at = models.DateTimeField(
        null=True, blank=True, help_text="When its objects were archived; the figures are those of that time."
    )
    sweeping = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Archived, but some of its small objects may not be deleted yet.",
    )

    objects = LoadQuerySet.as_manager()

    class Meta:
        ordering = ["tail__airline__name", "tail__name", "campaign__name"]
        constraints = [
            models.UniqueConstraint(fields=["tail", "campaign"], name="load_once"),
            *progress_constraints("load"),
        ]
        indexes = [
            models.Index(fields=["campaign", "status"]),
            models.Index(fields=["status", "moved_at"]),
            models.Index(
                fields=["tail"],
                name="load_needing_attention",
                condition=Q(status=Status.FAILED) | Q(stalled=True) | Q(at_risk=True) | ~Q(contradiction=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign} on {self.tail}"


class TransferQuerySet(ScopedQuerySet["Transfer"]):
    airline_path = "load__tail__airline"


class Transfer(ProgressFields):
    """One content item on its way to one tail, as its `.progress` and `.error` objects last reported."""

    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="transfers")
    content = models.CharField(max_length=200, help_text="The item's name, without .tgz.")
    listed = models.BooleanField(default=False, help_text="The current manifest lists the item.")
    bytes_reported = models.BigIntegerField(
        null=True, blank=True, help_text="The reported value, even above the total."
    )
    progress_etag = models.CharField(max_length=200, blank=True)
    progress_at = models.DateTimeField(
        null=True, blank=True, help_text="LastModified of .progress. Without an ETag, the object is gone."
    )
    error_etag = models.CharField(max_length=200, blank=True, help_text="ETag of .error; empty if there is none.")
    error_at = models.DateTimeField(null=True, blank=True, help_text="LastModified of .error.")
    error_cut = models.BooleanField(default=False, help_text="The error was longer than 4 KiB.")
    error_past = models.BooleanField(default=False, help_text="The item succeeded after this error.")
    restarted = models.BooleanField(default=False, help_text="bytes_done went down.")
    oversized = models.BooleanField(default=False, help_text="The reported value is above the item's size.")
    unreadable = models.BooleanField(default=False, help_text="The newest .progress could not be read.")

    objects = TransferQuerySet.as_manager()

    class Meta:
        ordering = ["load", "content"]
        constraints = [
            models.UniqueConstraint(fields=["load", "content"], name="transfer_once"),
            *progress_constraints("transfer"),
        ]
        indexes = [
            models.Index(fields=["load", "status"]),
            models.Index(fields=["status", "moved_at"]),
            models.Index(fields=["status", "load", "content"]),
            models.Index(
                fields=["error_code", "load", "content"], name="transfer_by_error", condition=~Q(error_code="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.content} of {self.load}"

    @property
    def contradiction(self) -> str:
        """Return the inconsistency of the item's objects, a word of `Inconsistency`."""
        if self.oversized:
            return Inconsistency.OVERSIZED.value
        return (Inconsistency.ERROR_LEFT if self.error_past else Inconsistency.NONE).value

    @property
    def state(self) -> str:
        """Return the state, a word of `State`. Whether it is silent or waiting is read from its load."""
        return precedence.state_of(
            self.status,
            silent=self.load.silent,
            stalled=self.stalled,
            contradiction=self.contradiction,
            waiting=self.load.waiting,
            restarted=self.restarted,
        )
