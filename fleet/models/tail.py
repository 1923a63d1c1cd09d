"""Aircraft, and the last heartbeat of their loaders."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse

from fleet.choices import ServiceStatus
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class TailQuerySet(ScopedQuerySet["Tail"]):
    def locked(self) -> Self:
        """Return the same rows, locked until the transaction ends. All writers lock in one order, against deadlocks."""
        return self.order_by("pk").select_for_update()


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

    # The next four follow from the tail's loads. `fleet.stats.tail_facts` writes them in the transaction that changes
    # these. The load may have been deleted by hand since, so there is no constraint.
    primary_load = models.ForeignKey(
        "fleet.Load",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        help_text="The load that represents the tail in lists.",
    )
    loads_loading = models.PositiveIntegerField(default=0, db_default=0, help_text="Loads with the status loading.")
    loads_failed = models.PositiveIntegerField(default=0, db_default=0, help_text="Loads with the status failed.")
    ready = models.BooleanField(default=False, db_default=False, help_text="All loads it has started are complete.")

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
