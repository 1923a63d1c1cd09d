"""Objects that could not be parsed, and acknowledgements of loads that need attention."""

from __future__ import annotations

from django.db import models

from fleet.models.load import Load
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class AcknowledgementQuerySet(ScopedQuerySet["Acknowledgement"]):
    airline_path = "load__tail__airline"


class Acknowledgement(models.Model):
    """A user's note that a load needs attention and what is done about it.

    It applies to the `state` and error code it was given in; once the load is in another state it no longer counts.
    """

    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="acknowledgements")
    state = models.CharField(max_length=13, help_text="The acknowledged state, or `at risk`.")
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
    """Something in a bucket that could not be parsed. Without an airline only staff see it.

    `etag` is that of the object when it was last read, so that it is not fetched again unchanged. `last_seen` is when
    that version was first seen; the problem lasts until `resolved_at`.
    """

    airline = models.ForeignKey(Airline, null=True, blank=True, on_delete=models.CASCADE, related_name="anomalies")
    bucket = models.CharField(max_length=6, choices=[("media", "media"), ("status", "status")])
    key = models.TextField(help_text="The object's key, as listed.")
    key_hash = models.CharField(max_length=64, help_text="SHA-256 of the key, for uniqueness.")
    problem = models.CharField(max_length=40, help_text="A code, such as BAD_NAME.")
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
