"""What has arrived: tails, the loads on them, every item's transfer, and what could not be understood."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.urls import reverse

from campaigns.models import Campaign
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class Status(models.TextChoices):
    """The contract's words; `stalled` is a flag on top."""

    PENDING = "pending", "pending"
    LOADING = "loading", "loading"
    COMPLETE = "complete", "complete"
    FAILED = "failed", "failed"
    DELETED = "deleted", "deleted"


class TailQuerySet(ScopedQuerySet["Tail"]):
    pass


class Tail(models.Model):
    """An aircraft, by registration. What its loader last said of itself is null or empty until it has."""

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="tails")
    name = models.CharField(max_length=200, help_text="Registration, as it stands in the bucket keys.")
    discovered = models.BooleanField(default=False, help_text="Made by the poller from a key, not by a person.")
    created_at = models.DateTimeField(auto_now_add=True)
    heard_at = models.DateTimeField(null=True, blank=True, help_text="Newest LastModified of anything it wrote.")
    heartbeat_etag = models.CharField(max_length=200, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True, help_text="LastModified of its loader.json.")
    loader_version = models.CharField(max_length=100, blank=True)
    loader_state = models.CharField(max_length=20, blank=True)
    loader_reason = models.CharField(max_length=500, blank=True)
    rate_bps = models.BigIntegerField(null=True, blank=True, help_text="bytes per second, as the loader says")
    stores = models.JSONField(default=list, blank=True)
    held = models.JSONField(default=list, blank=True)
    keys = models.PositiveIntegerField(default=0, help_text="About how many objects it has in the status bucket.")

    objects = TailQuerySet.as_manager()

    class Meta:
        ordering = ["airline__name", "name"]
        constraints = [
            models.UniqueConstraint(fields=["airline", "name"], name="tail_once"),
            models.UniqueConstraint("airline", Lower("name"), name="tail_name_differs_in_more_than_case"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("tail", args=[self.airline.name, self.name])


class Measured(models.Model):
    """What a load and a transfer have in common. Bytes; bytes per second; UTC. Unknown is null, never 0."""

    status = models.CharField(max_length=8, choices=Status, default=Status.PENDING)
    stalled = models.BooleanField(default=False, help_text="Loading, but no byte for a while.")
    bytes_done = models.BigIntegerField(default=0, help_text="Never above bytes_total.")
    bytes_total = models.BigIntegerField(null=True, blank=True)
    rate_bps = models.BigIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    as_of = models.DateTimeField(null=True, blank=True, help_text="LastModified of the newest object this rests on.")
    moved_at = models.DateTimeField(null=True, blank=True, help_text="When the portal last saw bytes_done change.")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def percent(self) -> int | None:
        """Whole percent of the bytes, rounded down so that 100 means every byte; None while the total is unknown."""
        if self.bytes_total is None:
            return None
        if self.status == Status.COMPLETE:
            return 100
        return self.bytes_done * 100 // self.bytes_total if self.bytes_total else 0

    @property
    def eta_seconds(self) -> int | None:
        """Seconds to the end at the present rate; None when it cannot be told."""
        if self.status != Status.LOADING or self.stalled or not self.rate_bps or self.bytes_total is None:
            return None
        return -(-(self.bytes_total - self.bytes_done) // self.rate_bps)


def measured_constraints(name: str) -> list[models.BaseConstraint]:
    """The checks that hold for every measured row; `name` begins their names."""
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


class Load(Measured):
    """One campaign on one tail, with the sums of its transfers.

    `error` is what to show first: that of `campaign.json.error`, else the newest of a failed item (then `error_content`
    names it). Once the manifest is known only items it lists are counted.
    """

    tail = models.ForeignKey(Tail, on_delete=models.CASCADE, related_name="loads")
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="loads")
    items_total = models.PositiveIntegerField(null=True, blank=True)
    items_done = models.PositiveIntegerField(default=0)
    items_failed = models.PositiveIntegerField(default=0)
    error_content = models.CharField(max_length=200, blank=True, help_text="The item whose error this is.")
    campaign_error = models.TextField(blank=True, help_text="What campaign.json.error says.")
    campaign_error_code = models.CharField(max_length=40, blank=True)
    error_etag = models.CharField(max_length=200, blank=True, help_text="Of campaign.json.error; empty: there is none.")
    error_at = models.DateTimeField(null=True, blank=True, help_text="LastModified of campaign.json.error.")
    manifest_etag = models.CharField(
        max_length=200, blank=True, help_text="Of the manifest these transfers were last held against."
    )
    archived_at = models.DateTimeField(
        null=True, blank=True, help_text="When its objects were packed into one; what is shown is what they last said."
    )
    sweeping = models.BooleanField(
        default=False,
        db_default=False,
        help_text="It is archived, but some of its small objects may still be there.",
    )

    objects = LoadQuerySet.as_manager()

    class Meta:
        ordering = ["tail__airline__name", "tail__name", "campaign__name"]
        constraints = [
            models.UniqueConstraint(fields=["tail", "campaign"], name="load_once"),
            *measured_constraints("load"),
        ]
        indexes = [
            models.Index(fields=["campaign", "status"]),
            models.Index(fields=["status", "moved_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.campaign} on {self.tail}"


class TransferQuerySet(ScopedQuerySet["Transfer"]):
    airline_path = "load__tail__airline"


class Transfer(Measured):
    """One content item on its way to one tail; what the objects `.progress` and `.error` last said."""

    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="transfers")
    content = models.CharField(max_length=200, help_text="The item's name, without .tgz")
    listed = models.BooleanField(default=False, help_text="The manifest names it.")
    bytes_reported = models.BigIntegerField(
        null=True, blank=True, help_text="As the object says, even above the total."
    )
    progress_etag = models.CharField(max_length=200, blank=True)
    progress_at = models.DateTimeField(
        null=True, blank=True, help_text="LastModified of .progress; without an ETag beside it the object has vanished."
    )
    error_etag = models.CharField(max_length=200, blank=True, help_text="Empty: there is no error now.")
    error_at = models.DateTimeField(null=True, blank=True, help_text="LastModified of .error.")
    error_cut = models.BooleanField(default=False, help_text="The error was longer than 4 KiB.")
    error_past = models.BooleanField(default=False, help_text="The item succeeded after this error.")
    restarted = models.BooleanField(default=False, help_text="bytes_done went down.")
    oversized = models.BooleanField(default=False, help_text="It reported more than its size.")
    unreadable = models.BooleanField(default=False, help_text="The newest .progress could not be read.")

    objects = TransferQuerySet.as_manager()

    class Meta:
        ordering = ["load", "content"]
        constraints = [
            models.UniqueConstraint(fields=["load", "content"], name="transfer_once"),
            *measured_constraints("transfer"),
        ]
        indexes = [
            models.Index(fields=["load", "status"]),
            models.Index(fields=["status", "moved_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.content} of {self.load}"


class ProgressSample(models.Model):
    """How many bytes of a load were there at a moment (the portal's clock, UTC)."""

    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="samples")
    at = models.DateTimeField(db_index=True)
    bytes_done = models.BigIntegerField()

    class Meta:
        ordering = ["load", "at"]
        constraints = [models.UniqueConstraint(fields=["load", "at"], name="sample_once")]

    def __str__(self) -> str:
        return f"{self.bytes_done} bytes at {self.at}"


class AnomalyQuerySet(ScopedQuerySet["Anomaly"]):
    pass


class Anomaly(models.Model):
    """Something in a bucket that could not be understood. Without an airline only staff see it.

    `etag` is that of the object when it was last looked at, so that it is not fetched again unchanged. `last_seen` is
    when that version was first met; the problem lasts until `resolved_at`.
    """

    airline = models.ForeignKey(Airline, null=True, blank=True, on_delete=models.CASCADE, related_name="anomalies")
    bucket = models.CharField(max_length=6, choices=[("media", "media"), ("status", "status")])
    key = models.TextField(help_text="The object's key, as listed.")
    key_hash = models.CharField(max_length=64, help_text="SHA-256 of the key, for uniqueness.")
    problem = models.CharField(max_length=40, help_text="A word for it, e.g. BAD_NAME.")
    detail = models.TextField(blank=True)
    etag = models.CharField(max_length=200, blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    objects = AnomalyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "anomalies"
        ordering = ["-last_seen"]
        constraints = [models.UniqueConstraint(fields=["bucket", "key_hash", "problem"], name="anomaly_once")]
        indexes = [models.Index(fields=["airline", "resolved_at", "-last_seen"])]

    def __str__(self) -> str:
        return f"{self.problem}: {self.key}"


class UsageQuerySet(ScopedQuerySet["Usage"]):
    pass


class Usage(models.Model):
    """The requests the portal sent to both buckets for an airline on a day (UTC), and the bytes of their answers.

    Without an airline: those that look for airlines, which only staff see.
    """

    airline = models.ForeignKey(Airline, null=True, blank=True, on_delete=models.CASCADE, related_name="usage")
    day = models.DateField()
    list_requests = models.BigIntegerField(default=0)
    get_requests = models.BigIntegerField(default=0)
    put_requests = models.BigIntegerField(default=0)
    delete_requests = models.BigIntegerField(default=0)
    bytes_received = models.BigIntegerField(default=0)

    objects = UsageQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "usage"
        ordering = ["-day", "airline__name"]
        constraints = [
            models.UniqueConstraint(fields=["airline", "day"], name="usage_once"),
            models.UniqueConstraint(fields=["day"], condition=Q(airline=None), name="usage_once_without_airline"),
        ]

    def __str__(self) -> str:
        return f"{self.airline or 'discovery'} on {self.day}"
