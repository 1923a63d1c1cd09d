"""Tables of the change feed: one row per object that can change, and the counter that orders the changes."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ifeportal.access import ScopedQuerySet


class Counter(models.Model):
    """The row whose update, last in a transaction, makes revision order equal commit order; and those of `pruning`."""

    rev = models.BigIntegerField(default=0)

    objects: ClassVar[models.Manager[Counter]] = models.Manager()

    def __str__(self) -> str:
        return f"revision {self.rev}"


class ChangeQuerySet(ScopedQuerySet["Change"]):
    pass


class Change(models.Model):
    """The newest state of one object of one topic. A thousand changes of it are still one row.

    `airline`, `tail` and `campaign` say which pages it concerns; `state` is what the API would say of it.
    """

    topic = models.CharField(max_length=20)
    object = models.BigIntegerField()
    rev = models.BigIntegerField(db_index=True)
    op = models.CharField(max_length=6, choices=[("put", "put"), ("delete", "delete")])
    airline = models.ForeignKey("ifeportal.Airline", on_delete=models.CASCADE, related_name="+")
    tail = models.CharField(max_length=200, blank=True)
    campaign = models.CharField(max_length=200, blank=True)
    state = models.JSONField(default=dict)

    objects = ChangeQuerySet.as_manager()

    class Meta:
        ordering = ["rev"]
        constraints = [models.UniqueConstraint(fields=["topic", "object"], name="change_once_per_object")]
        indexes = [models.Index(fields=["airline", "rev"])]

    def __str__(self) -> str:
        return f"{self.topic} {self.object} at revision {self.rev}"
