"""What has arrived: tails, the loads on them, every item's transfer, and what could not be understood."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.urls import reverse

from campaigns.models import Campaign
from fleet import forecast, rates
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class Status(models.TextChoices):
    """The contract's words; `stalled` is a flag on top."""

    PENDING = "pending", "pending"
    LOADING = "loading", "loading"
    COMPLETE = "complete", "complete"
    FAILED = "failed", "failed"
    DELETED = "deleted", "deleted"


class State(models.TextChoices):
    """The one word for a row, as pages, API, exports and metrics say it: its status, or what lies on top of `loading`.

    `fleet.rates.state_of` decides it.
    """

    FAILED = "failed", "failed"
    SILENT = "silent", "silent"
    STALLED = "stalled", "stalled"
    CONTRADICTION = "contradiction", "contradiction"
    WAITING = "waiting", "waiting"
    RESTARTED = "restarted", "restarted"
    LOADING = "loading", "loading"
    PENDING = "pending", "pending"
    COMPLETE = "complete", "complete"
    DELETED = "deleted", "deleted"


class Duty(models.TextChoices):
    """Whether a tail counts: stored and retired ones are out of every sum and percentage, and said to be."""

    ACTIVE = "active", "in service"
    STORED = "stored", "stored"
    RETIRED = "retired", "retired"


class Contradiction(models.TextChoices):
    """What does not fit together in what an aircraft says of a load."""

    NONE = "", "none"
    OVERSIZED = "oversized", "reports more bytes than an item has"
    ERROR_LEFT = "error left", "an error was left behind after its item succeeded"
    MANIFEST_CHANGED = "manifest changed", "the manifest changed while it was loading"


class Proof(models.TextChoices):
    """How much of what a load claims to hold is proven."""

    NONE = "", "claimed"
    SIZE = "size", "size-checked"
    HASH = "hash", "hash-verified"
    SIGNED = "signed", "signed"


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
    duty = models.CharField(
        max_length=7, choices=Duty, default=Duty.ACTIVE, db_default=Duty.ACTIVE.value, help_text="Set by operators."
    )
    aircraft_type = models.CharField(max_length=100, blank=True, db_default="", help_text="Set by operators.")
    seen_at = models.DateTimeField(
        null=True, blank=True, help_text="When the portal, by its own clock, last saw something new of it."
    )
    awake_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when, by the same clock, it has been seen without a long gap."
    )
    silent = models.BooleanField(default=False, db_default=False, help_text="Nothing was heard of it for long.")
    queue_version = models.BigIntegerField(null=True, blank=True, help_text="Of the transfer queue its loader follows.")
    queue_error = models.CharField(
        max_length=500, blank=True, db_default="", help_text="What is wrong with that queue."
    )
    signatures = models.CharField(
        max_length=20, blank=True, db_default="", help_text="Its loader's policy: off, warn or enforce."
    )

    objects = TailQuerySet.as_manager()

    class Meta:
        ordering = ["airline__name", "name"]
        constraints = [
            models.UniqueConstraint(fields=["airline", "name"], name="tail_once"),
            models.UniqueConstraint("airline", Lower("name"), name="tail_name_differs_in_more_than_case"),
        ]
        indexes = [models.Index(fields=["airline"], name="tail_silent", condition=Q(silent=True))]

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
    silent = models.BooleanField(default=False, db_default=False, help_text="Loading, but its tail is silent.")
    waiting = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Its loader says why it does not go on: no link, out of hours, paused.",
    )
    restarted = models.BooleanField(default=False, db_default=False, help_text="An item of it has begun anew.")
    contradiction = models.CharField(max_length=16, choices=Contradiction, blank=True, default="", db_default="")
    at_risk = models.BooleanField(
        default=False, db_default=False, help_text="It may not be complete when the exhibition starts."
    )
    effective_bps = models.BigIntegerField(
        null=True, blank=True, help_text="bytes per second over days, pauses included; as observed"
    )
    effective_since = models.DateTimeField(null=True, blank=True, help_text="Since when that is counted.")
    effective_base = models.BigIntegerField(default=0, db_default=0, help_text="bytes held then")
    proof = models.CharField(max_length=6, choices=Proof, blank=True, default="", db_default="")
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
            models.Index(
                fields=["tail"],
                name="load_needing_attention",
                condition=Q(status=Status.FAILED) | Q(stalled=True) | Q(at_risk=True) | ~Q(contradiction=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign} on {self.tail}"

    @property
    def state(self) -> str:
        """The one word for it, of `State`."""
        return rates.state_of(
            self.status,
            silent=self.silent,
            stalled=self.stalled,
            contradiction=self.contradiction,
            waiting=self.waiting,
            restarted=self.restarted,
        )

    @property
    def eta_latest_seconds(self) -> int | None:
        """Seconds to the end at the slower of the present and the effective rate; None when it cannot be told."""
        if self.status != Status.LOADING or self.bytes_total is None:
            return None
        band = forecast.seconds(self.bytes_total - self.bytes_done, self.rate_bps, self.effective_bps)
        return band[1] if band else None


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
            models.Index(fields=["status", "load", "content"]),
            models.Index(
                fields=["error_code", "load", "content"], name="transfer_by_error", condition=~Q(error_code="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.content} of {self.load}"

    @property
    def contradiction(self) -> str:
        """What the objects of this item say that does not fit together, of `Contradiction`."""
        if self.oversized:
            return Contradiction.OVERSIZED.value
        return (Contradiction.ERROR_LEFT if self.error_past else Contradiction.NONE).value

    @property
    def state(self) -> str:
        """The one word for it, of `State`. Whether its tail is silent or its loader waits, its load says."""
        return rates.state_of(
            self.status,
            silent=self.load.silent,
            stalled=self.stalled,
            contradiction=self.contradiction,
            waiting=self.load.waiting,
            restarted=self.restarted,
        )


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


class EventQuerySet(ScopedQuerySet["Event"]):
    airline_path = "load__tail__airline"


class Event(models.Model):
    """A turn in the life of a load or of one of its items: the time line, and the history of errors.

    `at` is the LastModified of the object that told of it, or the portal's clock for what no object tells (UTC).
    `state` is what it was from then on.
    """

    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="events")
    content = models.CharField(max_length=200, blank=True, help_text="The item; empty for the load itself.")
    at = models.DateTimeField(db_index=True)
    state = models.CharField(max_length=13, choices=State)
    error_code = models.CharField(max_length=40, blank=True)
    text = models.TextField(blank=True, help_text="The error, or a sentence on what happened.")
    bytes_done = models.BigIntegerField(help_text="What was held then.")
    bytes_total = models.BigIntegerField(null=True, blank=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["load", "content", "at"])]

    def __str__(self) -> str:
        return f"{self.content or 'load'} {self.state} at {self.at}"


class MovedQuerySet(ScopedQuerySet["Moved"]):
    pass


class Moved(models.Model):
    """Bytes that arrived on an airline's aircraft in a slot of five minutes (UTC, the portal's clock)."""

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="moved")
    at = models.DateTimeField(help_text="When the slot begins.")
    bytes = models.BigIntegerField(default=0)

    objects = MovedQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "moved"
        ordering = ["airline", "at"]
        constraints = [models.UniqueConstraint(fields=["airline", "at"], name="moved_once")]

    def __str__(self) -> str:
        return f"{self.bytes} bytes from {self.at}"


class AcknowledgementQuerySet(ScopedQuerySet["Acknowledgement"]):
    airline_path = "load__tail__airline"


class Acknowledgement(models.Model):
    """Somebody has seen that a load needs attention and says what is done about it.

    It stands for the `state` and error code it was given in; once the load is in another it no longer counts.
    """

    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="acknowledgements")
    state = models.CharField(max_length=13, help_text="What was acknowledged: a state, or `at risk`.")
    error_code = models.CharField(max_length=40, blank=True)
    note = models.TextField(max_length=1000)
    user = models.ForeignKey("ifeportal.User", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    who = models.CharField(max_length=150, help_text="The user's name.")
    at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    objects = AcknowledgementQuerySet.as_manager()

    class Meta:
        ordering = ["-at"]
        indexes = [models.Index(fields=["load", "-at"])]

    def __str__(self) -> str:
        return f"{self.who}: {self.note[:50]}"


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
