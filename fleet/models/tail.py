"""Aircraft, and the last heartbeat of their loaders."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse

from fleet.choices import ServiceStatus
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class TailQuerySet(ScopedQuerySet["Tail"]):
    pass


class Tail(models.Model):
    """An aircraft, by registration. Fields of its heartbeat are null or empty until its loader has written one."""

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="tails")
    name = models.CharField(max_length=200, help_text="Registration, as in the bucket keys.")
    discovered = models.BooleanField(default=False, help_text="Created by the poller from a key, not by a user.")
    created_at = models.DateTimeField(auto_now_add=True)
    heard_at = models.DateTimeField(null=True, blank=True, help_text="LastModified of the newest object it wrote.")
    heartbeat_etag = models.CharField(max_length=200, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True, help_text="LastModified of its loader.json.")
    loader_version = models.CharField(max_length=100, blank=True)
    loader_state = models.CharField(max_length=20, blank=True)
    loader_reason = models.CharField(max_length=500, blank=True)
    rate_bps = models.BigIntegerField(null=True, blank=True, help_text="Bytes per second, as reported by the loader.")
    stores = models.JSONField(default=list, blank=True)
    held = models.JSONField(default=list, blank=True)
    keys = models.PositiveIntegerField(default=0, help_text="Approximate number of its objects in the status bucket.")
    duty = models.CharField(
        max_length=7,
        choices=ServiceStatus,
        default=ServiceStatus.ACTIVE,
        db_default=ServiceStatus.ACTIVE.value,
        help_text="Set by operators.",
    )
    aircraft_type = models.CharField(max_length=100, blank=True, db_default="", help_text="Set by operators.")
    seen_at = models.DateTimeField(
        null=True, blank=True, help_text="When the portal last saw something new of the tail, by the portal's clock."
    )
    awake_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when the tail has been seen without a long gap, by the portal's clock."
    )
    silent = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Nothing new was seen of the tail for the airline's `silent after` hours.",
    )
    queue_version = models.BigIntegerField(
        null=True, blank=True, help_text="Version of the transfer queue that its loader follows."
    )
    queue_error = models.CharField(
        max_length=500, blank=True, db_default="", help_text="Why the loader does not follow its queue, or part of it."
    )
    signatures = models.CharField(
        max_length=20, blank=True, db_default="", help_text="The loader's signature policy: off, warn or enforce."
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
