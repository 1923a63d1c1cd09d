"""Drafts of campaigns and their items: fields that people edit, and the progress of jobs."""

from __future__ import annotations

from typing import Final, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline
from ifeportal.operations.models import Operation
from loader.contract.manifest import PRIORITY_LIMIT

NOT_HASHED: Final = "Not hashed yet."
HASH_OUTDATED: Final = "The object changed since it was hashed. Hash it again."
TO_HASH: Final = (NOT_HASHED, HASH_OUTDATED)  # `error_text` of items that only wait to be hashed
IS_HASHED: Final = ~Q(sha256="") & Q(sha256_etag=F("etag"))  # `DraftItem.is_hashed` in SQL


class DraftState(models.TextChoices):
    """State of a draft. In `BUSY_STATES` its operation is open, and people cannot change it."""

    EDITING = "editing", "Incomplete"
    SCANNING = "looking", "Scanning"
    HASHING = "hashing", "Hashing"
    READY = "ready", "Ready to publish"
    PUBLISHING = "publishing", "Publishing"
    PUBLISHED = "published", "Published"
    WITHDRAWING = "withdrawing", "Withdrawing"
    WITHDRAWN = "withdrawn", "Withdrawn"
    FAILED = "failed", "Failed"


OPERATION_KINDS: Final = {
    DraftState.SCANNING: "scan",
    DraftState.HASHING: "hashing",
    DraftState.PUBLISHING: "publication",
    DraftState.WITHDRAWING: "withdrawal",
}
BUSY_STATES: Final = tuple(OPERATION_KINDS)
NO_ERROR: Final = {"error_code": "", "error": "", "advice": ""}  # of an item


class DraftQuerySet(ScopedQuerySet["Draft"]):
    def idle(self) -> Self:
        """Return drafts without an open operation."""
        return self.exclude(state__in=BUSY_STATES)


class Draft(models.Model):
    """A campaign as people edit it; operations write it to the media bucket. At most one for each campaign.

    `manifest_etag`, `manifest_version`: of the campaign.json last scanned or written, empty if there is none. If it
    changed since, the draft is not published. `version`: the highest ever found or published. `operation`: the last
    one, also after it ended, so that a failed draft says what failed. Times are in UTC.
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
    operation = models.OneToOneField(
        Operation,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="draft",
        help_text="The last scan, hashing, publication or withdrawal.",
    )
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

    @property
    def busy(self) -> bool:
        """Whether an operation on the draft is open."""
        return self.state in BUSY_STATES

    @property
    def failed_state(self) -> str:
        """The busy state in which a failed draft was; "" if that is unknown, because its operation was purged."""
        if self.state != DraftState.FAILED or self.operation is None:
            return ""
        return next((state for state, kind in OPERATION_KINDS.items() if kind == self.operation.kind), "")

    @property
    def error_code(self) -> str:
        return self._failing.error_code if self._failing else ""

    @property
    def error(self) -> str:
        """Why the operation failed, or why its last attempt did."""
        return self._failing.error if self._failing else ""

    @property
    def advice(self) -> str:
        return self._failing.advice if self._failing else ""

    @property
    def _failing(self) -> Operation | None:
        return self.operation if self.busy or self.state == DraftState.FAILED else None


class DraftItemQuerySet(ScopedQuerySet["DraftItem"]):
    airline_path = "draft__airline"

    def to_hash(self) -> Self:
        """Return included items in the bucket that are not hashed."""
        return self.filter(included=True, name_error="", size__isnull=False).exclude(IS_HASHED)


class DraftItem(models.Model):
    """A `.tgz` that is or was in the prefix of a campaign, or that its manifest lists.

    `included` items are part of the campaign. `size` is null if the bucket has no such object; `name_error` says why
    it can never be included. While `hash_pending`, `hashed_bytes` are hashed and `hash_state` is the state to resume
    from. `sha256` and `crc32` are those of the object with `sha256_etag`; while `hash_state` is set, `crc32` is that of
    the hashed bytes. `error` is the last error of hashing, with its code and
    advice, `error_text` why the item cannot be published.
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
    crc32 = models.CharField(max_length=8, blank=True, default="", help_text="Hexadecimal. Empty if it is unknown.")
    hash_pending = models.BooleanField(default=False)
    hashed_bytes = models.BigIntegerField(default=0)
    hash_state = models.CharField(max_length=224, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    advice = models.TextField(blank=True, help_text="What to do about the error.")
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
            return "Waiting to retry" if self.error_code else "Waiting to be hashed"
        return f"Failed: {self.error_code}" if self.error_code else "Not hashed"
