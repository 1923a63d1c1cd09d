"""Tables of large exports: what was requested, its progress, and the parts of the finished file.

Files are in the database, compressed, so that any web process can serve what any worker wrote.
"""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any, ClassVar, Final, Self

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db import models
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce, Now

from ifeportal.jobs.retries import RetriedQuerySet, RetriedWork, RetryPolicy
from ifeportal.models import User

LIFETIME: Final = timedelta(hours=24)  # after the file was finished, or failed


class ExportState(models.TextChoices):
    """State of an export. Deleting the row cancels it."""

    QUEUED = "queued"
    WRITING = "writing"
    READY = "ready"
    FAILED = "failed"


UNFINISHED: Final = (ExportState.QUEUED, ExportState.WRITING)


class ExportQuerySet(RetriedQuerySet["Export"]):
    def visible_to(self, user: AbstractUser | AnonymousUser) -> Self:
        """Return the user's own exports, also for staff. A token sees none."""
        if not (user.is_authenticated and user.is_active) or getattr(user, "limited_to", None) is not None:
            return self.none()
        return self.filter(user=user.pk)

    def unfinished(self) -> Self:
        return self.filter(state__in=UNFINISHED)

    def expired(self) -> Self:
        """Return the exports whose time is over by the clock of the database, which also wrote `finished_at`."""
        return self.filter(finished_at__lt=Now() - LIFETIME)

    def stored_bytes(self) -> int:
        """Return the bytes that the files take in the database."""
        total: int = self.aggregate(total=Coalesce(Sum("stored_size"), 0))["total"]
        return total


class Export(RetriedWork):
    """A table file that a user requested. `path` and `query` are the address of the page that exports it.

    `access` is what the user could see when the file was written: the file is served only while that still holds.
    Sizes are in bytes: `size` of the file, `stored_size` of its compressed parts.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    path = models.CharField(max_length=2_000)
    query = models.TextField(blank=True)
    name = models.CharField(max_length=1_000, help_text="Name of the file.")
    state = models.CharField(max_length=8, choices=ExportState, default=ExportState.QUEUED)
    rows = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(null=True)
    size = models.PositiveBigIntegerField(default=0)
    stored_size = models.PositiveBigIntegerField(default=0)
    access = models.JSONField(default=dict)
    requested_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, db_index=True)

    retry_policy: ClassVar[RetryPolicy] = RetryPolicy(max_attempts=3)
    objects = ExportQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_at", "-pk"]

    def __str__(self) -> str:
        return self.name

    def current_request(self) -> RetriedQuerySet[Any]:
        return Export.objects.unfinished().filter(pk=self.pk)

    @property
    def is_unfinished(self) -> bool:
        return self.state in UNFINISHED

    @property
    def kind(self) -> str:
        """The format of the file, a key of `tables.export.CONTENT_TYPES`."""
        return self.name.rpartition(".")[2]

    def add_part(self, number: int, text: bytes, rows: int, total: int | None) -> bool:
        """Store the next part of the file, and the progress. False if the export was cancelled."""
        data = zlib.compress(text, 6)
        progress = {"rows": rows, "total": total, "size": F("size") + len(text)}
        if not self.current_request().update(stored_size=F("stored_size") + len(data), **progress):
            return False
        ExportPart.objects.create(export=self, number=number, data=data)
        return True

    def finish(self, access: dict[str, Any], rows: int) -> bool:
        """Record that the file is complete. False if the export was cancelled."""
        finished = {"state": ExportState.READY, "finished_at": Now(), "access": access, "rows": rows}
        return bool(self.current_request().update(**finished))

    def fail(self, sentence: str) -> None:
        """Record why there is no file, and drop the parts that were written."""
        self.current_request().update(state=ExportState.FAILED, finished_at=Now(), error=sentence, stored_size=0)
        ExportPart.objects.filter(export=self).delete()


class ExportPart(models.Model):
    """A part of the file, compressed with zlib."""

    export = models.ForeignKey(Export, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    objects: ClassVar[models.Manager[ExportPart]] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["export", "number"], name="export_part_once"),
            models.CheckConstraint(condition=Q(number__gte=0), name="export_part_number"),
        ]

    def __str__(self) -> str:
        return f"part {self.number} of export {self.export_id}"

    @property
    def text(self) -> bytes:
        return zlib.decompress(self.data)
