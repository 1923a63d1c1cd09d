"""Samples of progress, events of loads and items, and bytes received per interval."""

from __future__ import annotations

from django.db import models

from fleet.choices import State
from fleet.models.load import Load
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class ProgressSample(models.Model):
    """The bytes of a load at a time (the portal's clock, UTC)."""

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
    """A change of state of a load or of one of its items: the time line, and the history of errors.

    `at` is the LastModified of the object that showed the change, or the portal's clock if no object did (UTC). `state`
    is the one it entered.
    """

    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="events")
    content = models.CharField(max_length=200, blank=True, help_text="The item; empty for the load itself.")
    at = models.DateTimeField(db_index=True)
    state = models.CharField(max_length=13, choices=State)
    error_code = models.CharField(max_length=40, blank=True)
    text = models.TextField(blank=True, help_text="The error, or a sentence on what happened.")
    bytes_done = models.BigIntegerField(help_text="Bytes of the load or item at that time.")
    bytes_total = models.BigIntegerField(null=True, blank=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["load", "content", "at"])]

    def __str__(self) -> str:
        return f"{self.content or 'load'} {self.state} at {self.at}"


class ThroughputIntervalQuerySet(ScopedQuerySet["ThroughputInterval"]):
    pass


class ThroughputInterval(models.Model):
    """Bytes that arrived on an airline's aircraft in a slot of five minutes (UTC, the portal's clock)."""

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="moved")
    at = models.DateTimeField(help_text="Start of the five minutes.")
    bytes = models.BigIntegerField(default=0)

    objects = ThroughputIntervalQuerySet.as_manager()

    class Meta:
        db_table = "fleet_moved"  # the name from before the model was renamed
        verbose_name_plural = "moved"
        ordering = ["airline", "at"]
        constraints = [models.UniqueConstraint(fields=["airline", "at"], name="moved_once")]

    def __str__(self) -> str:
        return f"{self.bytes} bytes from {self.at}"
