"""Requests to the buckets by airline and day."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class UsageQuerySet(ScopedQuerySet["Usage"]):
    pass


class Usage(models.Model):
    """The requests the portal sent to both buckets for an airline on a day (UTC), and the bytes of the responses.

    Without an airline: the requests of airline discovery, which only staff see.
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
