"""Drafts of campaigns and their items: what people edit, and the progress of jobs on it."""

from __future__ import annotations

from typing import Final, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from ifeportal.jobs.retries import RetriedQuerySet, RetriedWork
from ifeportal.models import Airline, User
from loader.contract.manifest import PRIORITY_LIMIT

IS_HASHED: Final = ~Q(sha256="") & Q(sha256_etag=F("etag"))  # `DraftItem.is_hashed` in SQL


class DraftState(models.TextChoices):
    """How far the work on a draft is. `BUSY_STATES` ones are a job's; in the others people may change it."""

    EDITING = "editing", "being edited"
    SCANNING = "looking", "looking into the bucket"
    HASHING = "hashing", "hashing"
    READY = "ready", "ready to be published"
    PUBLISHING = "publishing", "publishing"
    PUBLISHED = "published", "published"
    WITHDRAWING = "withdrawing", "withdrawing"
    WITHDRAWN = "withdrawn", "withdrawn"
    FAILED = "failed", "failed"


BUSY_STATES: Final = (DraftState.SCANNING, DraftState.HASHING, DraftState.PUBLISHING, DraftState.WITHDRAWING)


class DraftQuerySet(RetriedQuerySet["Draft"]):
    def idle(self) -> Self:
        """Those no job works on."""
        return self.exclude(state__in=BUSY_STATES)


class Draft(RetriedWork):
    """What a campaign is to be, as people want it; a job writes it into the media bucket. One for each campaign.

    `manifest_etag`, `manifest_version`: of the campaign.json last seen or written, empty if there is none; whoever
    changed that since then is not overwritten. `version`: the highest ever seen or published. All times UTC.
    """

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="drafts")
    name = models.CharField("campaign", max_length=200, help_text="As it stands in the bucket keys, e.g. 2026-12.")
    title = models.CharField(max_length=500, blank=True, help_text="What people call it; the name if empty.")
    exhibition_starts = models.DateField("first day", null=True, blank=True, help_text="From when on it is shown.")
    exhibition_ends = models.DateField("last day", null=True, blank=True)
    extra = models.JSONField(default=dict, blank=True, help_text="What else the manifest says; it is kept.")
    state = models.CharField(max_length=11, choices=DraftState, default=DraftState.EDITING)
    requested_at = models.DateTimeField(null=True, blank=True, help_text="When somebody asked for the work in hand.")
    requested_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="Who asked for it."
    )
    last_worked_at = models.DateTimeField(null=True, blank=True, help_text="When a job last worked on it.")
    rate_bps = models.BigIntegerField(null=True, blank=True, help_text="bytes per second hashed just now")
    faults = models.JSONField(default=list, blank=True, help_text="What is wrong with it as a whole.")
    faulty_items = models.PositiveIntegerField(default=0, help_text="How many of its items have a fault.")
    notices = models.JSONField(default=list, blank=True, help_text="What was noticed in the bucket.")
    scanned_at = models.DateTimeField(null=True, blank=True)
    manifest_etag = models.CharField(max_length=200, blank=True)
    manifest_version = models.BigIntegerField(null=True, blank=True)
    version = models.BigIntegerField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_sha256 = models.CharField(max_length=64, blank=True)
    signed_by = models.TextField(blank=True, help_text="Ids of the keys that signed what was published.")
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
        """A job works on it."""
        return self.state in BUSY_STATES


class DraftItemQuerySet(RetriedQuerySet["DraftItem"]):
    airline_path = "draft__airline"

    def to_hash(self) -> Self:
        """Chosen and there, and not hashed yet."""
        return self.filter(included=True, name_error="", size__isnull=False).exclude(IS_HASHED)

    def waiting(self) -> Self:
        """Return those that a job is to hash."""
        return self.filter(hash_pending=True, draft__state=DraftState.HASHING)


class DraftItem(RetriedWork):
    """One `.tgz` that lies, or lay, under a campaign's prefix, or that its manifest names.

    `included` ones are part of the campaign. `size` is null while there is no such object; `name_error` says why it can
    never be included. While `hash_pending`, `hashed_bytes` are hashed and `hash_state` is the state to resume from.
    `sha256` is that of the object with `sha256_etag`. `error` is the last error of hashing, `error_text` why the item
    cannot be published as it is.
    """

    draft = models.ForeignKey(Draft, on_delete=models.CASCADE, related_name="items")
    name = models.CharField(max_length=300, help_text="Without .tgz")
    included = models.BooleanField("in it", default=False, help_text="It is part of the campaign.")
    title = models.CharField(max_length=500, blank=True)
    kind = models.CharField(max_length=100, blank=True, help_text="movie, music, map …")
    required = models.BooleanField(default=True)
    priority = models.IntegerField(
        default=0,
        validators=[MinValueValidator(-PRIORITY_LIMIT), MaxValueValidator(PRIORITY_LIMIT)],
        help_text="Higher is loaded first.",
    )
    position = models.PositiveIntegerField(default=0)
    extra = models.JSONField(default=dict, blank=True)
    in_manifest = models.BooleanField(
        "in the manifest", default=False, help_text="The campaign.json in the bucket has it."
    )
    size = models.BigIntegerField(null=True, blank=True, help_text="bytes")
    etag = models.CharField(max_length=200, blank=True)
    modified = models.DateTimeField("written", null=True, blank=True, help_text="LastModified of the object.")
    name_error = models.CharField(max_length=500, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    sha256_etag = models.CharField(max_length=200, blank=True)
    hash_pending = models.BooleanField(default=False)
    hashed_bytes = models.BigIntegerField(default=0)
    hash_state = models.CharField(max_length=224, blank=True)
    error_text = models.TextField(blank=True, help_text="Why it cannot be published so.")

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
        """Its SHA-256 is that of the object that lies there now."""
        return bool(self.sha256) and self.sha256_etag == self.etag

    @property
    def state_text(self) -> str:
        """How it is, in a few words."""
        if self.name_error:
            return "cannot be used"
        if self.size is None:
            return "not in the bucket"
        if self.is_hashed and not self.hash_pending:
            return "hashed"
        if self.hash_pending and self.hashed_bytes:
            return f"hashing, {self.hashed_bytes * 100 // self.size if self.size else 0}%"
        if self.hash_pending:
            return "waits to be tried again" if self.attempts else "waits to be hashed"
        return f"failed: {self.error_code}" if self.error_code else "not hashed"
