"""Drafts of campaigns and their items: fields that people edit, and the progress of jobs."""

from __future__ import annotations

from typing import Final, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from ifeportal.jobs.retries import RetriedQuerySet, RetriedWork
from ifeportal.models import Airline, User
from loader.contract.manifest import PRIORITY_LIMIT

NOT_HASHED: Final = "Not hashed yet."
HASH_OUTDATED: Final = "The object changed since it was hashed. Hash it again."
TO_HASH: Final = (NOT_HASHED, HASH_OUTDATED)  # `error_text` of items that only wait to be hashed
IS_HASHED: Final = ~Q(sha256="") & Q(sha256_etag=F("etag"))  # `DraftItem.is_hashed` in SQL


class DraftState(models.TextChoices):
    """State of a draft. In `BUSY_STATES` a job works on it, and people cannot change it."""

    EDITING = "editing", "Incomplete"
    SCANNING = "looking", "Scanning"
    HASHING = "hashing", "Hashing"
    READY = "ready", "Ready to publish"
    PUBLISHING = "publishing", "Publishing"
    PUBLISHED = "published", "Published"
    WITHDRAWING = "withdrawing", "Withdrawing"
    WITHDRAWN = "withdrawn", "Withdrawn"
    FAILED = "failed", "Failed"


BUSY_STATES: Final = (DraftState.SCANNING, DraftState.HASHING, DraftState.PUBLISHING, DraftState.WITHDRAWING)


class DraftQuerySet(RetriedQuerySet["Draft"]):
    def idle(self) -> Self:
        """Return drafts that no job works on."""
        return self.exclude(state__in=BUSY_STATES)


class Draft(RetriedWork):
    """A campaign as people edit it; a job writes it to the media bucket. At most one for each campaign.

    `manifest_etag`, `manifest_version`: of the campaign.json last scanned or written, empty if there is none. If it
    changed since, the draft is not published. `version`: the highest ever found or published. `requested_work`: one of
    `BUSY_STATES`, also after the work ended, so that a failed draft says what failed. Times are in UTC.
    """

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="drafts")
    name = models.CharField(
        "campaign", max_length=200, help_text="Name of its folder in the media bucket, for example 2026-12."
    )
    title = models.CharField(max_length=500, blank=True, help_text="Shown instead of the name.")
    exhibition_starts = models.DateField(
        "first day", null=True, blank=True, help_text="First day on which the campaign is shown."
    )
    exhibition_ends = models.DateField(
        "last day", null=True, blank=True, help_text="Last day on which the campaign is shown."
    )
    extra = models.JSONField(default=dict, blank=True, help_text="Other fields of the manifest, preserved.")
    state = models.CharField(max_length=11, choices=DraftState, default=DraftState.EDITING)
    requested_at = models.DateTimeField(null=True, blank=True, help_text="When the current work was requested.")
    requested_by = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Who requested the current work.",
    )
    requested_work = models.CharField(
        max_length=11, blank=True, default="", db_default="", help_text="The work that was requested last: its state."
    )
    last_worked_at = models.DateTimeField(null=True, blank=True, help_text="When a job last worked on it.")
    rate_bps = models.BigIntegerField(null=True, blank=True, help_text="Current rate of hashing, bytes per second.")
    faults = models.JSONField(default=list, blank=True, help_text="Problems of the draft itself.")
    faulty_items = models.PositiveIntegerField(default=0, help_text="Number of items with problems.")
    notices = models.JSONField(default=list, blank=True, help_text="Notes of the last scan or publication.")
    scanned_at = models.DateTimeField(null=True, blank=True)
    hashed_at = models.DateTimeField(null=True, blank=True, help_text="When hashing last ended.")
    edited_at = models.DateTimeField(null=True, blank=True, help_text="When a person last changed it or its items.")
    manifest_etag = models.CharField(max_length=200, blank=True)
    manifest_version = models.BigIntegerField(null=True, blank=True)
    version = models.BigIntegerField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_sha256 = models.CharField(max_length=64, blank=True)
    signed_by = models.TextField(blank=True, help_text="Ids of the keys that signed the published version.")
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DraftQuerySet.as_manager()

    class Meta:
        ordering = ["airline__name", "-exhibition_starts", "name"]
        constraints = [
            models.UniqueConstraint(fields=["airline", "name"], name="draft_once"),
            models.UniqueConstraint("airline", Lower("name"), name="draft_name_differs_in_more_than_case"),
            models.CheckConstraint(condition=Q(state__in=DraftState.values), name="draft_state_known"),
        ]

    def __str__(self) -> str:
        return f"{self.airline.name}/{self.name}"

    def current_request(self) -> DraftQuerySet:
        """Return this row while what was requested is still to be done, else no row."""
        return Draft.objects.filter(pk=self.pk, state=self.state, requested_at=self.requested_at)

    @property
    def busy(self) -> bool:
        """Whether a job works on the draft."""
        return self.state in BUSY_STATES


class DraftItemQuerySet(RetriedQuerySet["DraftItem"]):
    airline_path = "draft__airline"

    def to_hash(self) -> Self:
        """Return included items in the bucket that are not hashed."""
        return self.filter(included=True, name_error="", size__isnull=False).exclude(IS_HASHED)

    def waiting(self) -> Self:
        """Return items that wait for the hashing job."""
        return self.filter(hash_pending=True, draft__state=DraftState.HASHING)


class DraftItem(RetriedWork):
    """A `.tgz` that is or was in the prefix of a campaign, or that its manifest lists.

    `included` items are part of the campaign. `size` is null if the bucket has no such object; `name_error` says why
    it can never be included. While `hash_pending`, `hashed_bytes` are hashed and `hash_state` is the state to resume
    from. `sha256` is that of the object with `sha256_etag`. `error` is the last error of hashing, `error_text` why
    the item cannot be published.
    """

    draft = models.ForeignKey(Draft, on_delete=models.CASCADE, related_name="items")
    name = models.CharField(max_length=300, help_text="Without .tgz.")
    included = models.BooleanField(default=False, help_text="Part of the campaign.")
    title = models.CharField(max_length=500, blank=True)
    kind = models.CharField(max_length=100, blank=True, help_text="For example movie, music or map.")
    required = models.BooleanField(default=True)
    priority = models.IntegerField(
        default=0,
        validators=[MinValueValidator(-PRIORITY_LIMIT), MaxValueValidator(PRIORITY_LIMIT)],
        help_text="Items with a higher priority are loaded first.",
    )
    position = models.PositiveIntegerField(default=0)
    extra = models.JSONField(default=dict, blank=True)
    in_manifest = models.BooleanField(
        "in the manifest", default=False, help_text="Listed in the campaign.json of the bucket."
    )
    size = models.BigIntegerField(null=True, blank=True, help_text="Bytes.")
    etag = models.CharField(max_length=200, blank=True)
    modified = models.DateTimeField("last modified", null=True, blank=True, help_text="LastModified of the object.")
    name_error = models.CharField(max_length=500, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    sha256_etag = models.CharField(max_length=200, blank=True)
    hash_pending = models.BooleanField(default=False)
    hashed_bytes = models.BigIntegerField(default=0)
    hash_state = models.CharField(max_length=224, blank=True)
    error_text = models.TextField(blank=True, help_text="Why the item cannot be published.")

    objects = DraftItemQuerySet.as_manager()

    class Meta:
        ordering = ["draft", "position", "name"]
        constraints = [
            models.UniqueConstraint(fields=["draft", "name"], name="draft_item_once"),
            models.CheckConstraint(
                condition=Q(size__isnull=True) | Q(size__gte=0), name="draft_item_size_not_negative"
            ),
        ]
        indexes = [models.Index(fields=["draft", "hash_pending"])]

    def __str__(self) -> str:
        return f"{self.name} of {self.draft}"

    def current_request(self) -> DraftItemQuerySet:
        """Return this row while the object that was read with it is still to be hashed, else no row."""
        return DraftItem.objects.waiting().filter(pk=self.pk, etag=self.etag)

    @property
    def is_hashed(self) -> bool:
        """Whether `sha256` is that of the object in the bucket."""
        return bool(self.sha256) and self.sha256_etag == self.etag

    @property
    def is_fault(self) -> bool:
        """Whether the item has a problem that a person must fix; one that only waits to be hashed has none."""
        return bool(self.error_text) and self.error_text not in TO_HASH

    @property
    def state_text(self) -> str:
        if self.name_error:
            return "Invalid name"
        if self.size is None:
            return "Not in the bucket"
        if self.is_hashed and not self.hash_pending:
            return "Hashed"
        if self.hash_pending and self.hashed_bytes:
            return f"Hashing, {self.hashed_bytes * 100 // self.size if self.size else 0}%"
        if self.hash_pending:
            return "Waiting to retry" if self.attempts else "Waiting to be hashed"
        return f"Failed: {self.error_code}" if self.error_code else "Not hashed"
