"""Why loads need attention and the likely cause of each, as `fleet.attention.keeping` stores them."""

from __future__ import annotations

from django.db import models

from fleet.models.issues import Acknowledgement
from fleet.models.load import Load
from fleet.models.tail import Tail
from ifeportal.access import ScopedQuerySet
from ifeportal.models import Airline


class AttentionFindingQuerySet(ScopedQuerySet["AttentionFinding"]):
    pass


class AttentionFinding(models.Model):
    """A problem of an item, or of the load if `content` is empty, with its likely cause and its acknowledgement.

    Written in the transaction that changes the load. `cause` is equal for the findings of one cause, and hashes the
    kind of cause, the airline, the campaign, the subject and the code.
    """

    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="+")
    tail = models.ForeignKey(Tail, on_delete=models.CASCADE, related_name="+")
    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="findings", db_index=False)
    reason = models.CharField(max_length=13, help_text="Why the load needs attention, such as `failed`.")
    content = models.CharField(max_length=200, blank=True, help_text="The item; empty for the load itself.")
    code = models.CharField(max_length=40, blank=True, help_text="The error code.")
    text = models.TextField(blank=True, help_text="The error, or what contradicts.")
    acknowledgement = models.ForeignKey(
        Acknowledgement, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    kind = models.CharField(max_length=13, blank=True, help_text="The kind of the likely cause.")
    subject = models.CharField(max_length=200, blank=True, help_text="The object, tail or code at fault.")
    cause = models.CharField(max_length=16, blank=True, db_index=True)

    objects = AttentionFindingQuerySet.as_manager()

    class Meta:
        ordering = ["tail__name", "load__campaign__name", "content"]
        constraints = [
            models.UniqueConstraint(fields=["load", "reason", "content"], name="finding_once"),
        ]

    def __str__(self) -> str:
        return f"{self.reason}: {self.content} of {self.load}"
