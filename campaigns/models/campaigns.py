"""Campaigns of airlines and their content items, according to the manifests."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse

from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class ManifestState(models.TextChoices):
    """State of a campaign's `campaign.json`."""

    MISSING = "missing", "missing"
    OK = "ok", "read"
    REFUSED = "refused", "refused"


class CampaignQuerySet(ScopedQuerySet["Campaign"]):
    pass


class Campaign(models.Model):
    """A content cycle of an airline. Totals are of the last valid manifest; null means unknown."""

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="campaigns")
    name = models.CharField(max_length=200)
    title = models.CharField(max_length=500, blank=True)
    version = models.BigIntegerField(null=True, blank=True)
    exhibition_starts = models.DateField(null=True, blank=True)
    exhibition_ends = models.DateField(null=True, blank=True)
    discovered = models.BooleanField(default=False, help_text="Created by the poller from an object key.")
    manifest_state = models.CharField(max_length=8, choices=ManifestState, default=ManifestState.MISSING)
    manifest_problem = models.TextField(blank=True, help_text="Why the newest campaign.json was rejected.")
    manifest_etag = models.CharField(
        max_length=200, blank=True, help_text="ETag of the newest campaign.json that was read."
    )
    manifest_as_of = models.DateTimeField(null=True, blank=True, help_text="LastModified of that object.")
    signed = models.BooleanField(default=False, db_default=False, help_text="The bucket has campaign.json.dsse.")
    withdrawn_at = models.DateTimeField(null=True, blank=True, help_text="When a manager withdrew the campaign.")
    items_total = models.PositiveIntegerField(null=True, blank=True)
    bytes_total = models.BigIntegerField(null=True, blank=True)
    extra = models.JSONField(
        default=dict, blank=True, help_text="Fields of the manifest that this version does not know."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering = ["airline__name", "-exhibition_starts", "name"]
        constraints = [
            models.UniqueConstraint(fields=["airline", "name"], name="campaign_once"),
            models.UniqueConstraint("airline", Lower("name"), name="campaign_name_differs_in_more_than_case"),
            models.CheckConstraint(
                condition=Q(bytes_total__isnull=True) | Q(bytes_total__gte=0), name="campaign_bytes_not_negative"
            ),
            models.CheckConstraint(condition=Q(manifest_state__in=ManifestState.values), name="campaign_state_known"),
        ]

    def __str__(self) -> str:
        return self.title or self.name

    def get_absolute_url(self) -> str:
        return reverse("campaign", args=[self.airline.name, self.name])


class ContentItemQuerySet(ScopedQuerySet["ContentItem"]):
    airline_path = "campaign__airline"


class ContentItem(models.Model):
    """A `.tgz` of a campaign. `listed` is false if the current manifest omits it."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="items")
    name = models.CharField(max_length=200, help_text="Without .tgz.")
    position = models.PositiveIntegerField(default=0)
    size = models.BigIntegerField(help_text="Bytes.")
    sha256 = models.CharField(max_length=64, blank=True, help_text="Hexadecimal. Empty if only the size is checked.")
    title = models.CharField(max_length=500, blank=True)
    kind = models.CharField(max_length=100, blank=True)
    required = models.BooleanField(default=True)
    priority = models.IntegerField(default=0)
    listed = models.BooleanField(default=True)
    extra = models.JSONField(default=dict, blank=True)

    objects = ContentItemQuerySet.as_manager()

    class Meta:
        ordering = ["campaign", "position", "name"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "name"], name="content_once"),
            models.CheckConstraint(condition=Q(size__gte=0), name="content_size_not_negative"),
        ]

    def __str__(self) -> str:
        return self.title or self.name
