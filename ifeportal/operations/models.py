"""The table of operations: who requested what, how far it is, and which worker does it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar, Final, Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from ifeportal.jobs.retries import RetriedQuerySet, RetriedWork
from ifeportal.models import CLOCK_JUMP, Airline, User


class OperationState(models.TextChoices):
    """State of an operation. In `OPEN_STATES` it has not ended.

    QUEUED: waits for admission. RUNNING: admitted; workers do one slice after another. WAITING: nothing can be done
    before `next_try_at`, because an attempt failed or something outside the portal is awaited.
    """

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    WAITING = "waiting", "Waiting"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    EXPIRED = "expired", "Expired"


OPEN_STATES: Final = (OperationState.QUEUED, OperationState.RUNNING, OperationState.WAITING)


class Lane(models.IntegerChoices):
    """Operations of a lower lane start first."""

    INTERACTIVE = 0, "Interactive"
    NORMAL = 10, "Normal"
    BACKGROUND = 20, "Background"
    DELETION = 30, "Deletion"


class OperationQuerySet(RetriedQuerySet["Operation"]):
    def open(self) -> Self:
        """Return the operations that have not ended."""
        return self.filter(state__in=OPEN_STATES)

    def in_queue(self) -> Self:
        """Return the operations that wait for admission, the next one first."""
        return self.filter(state=OperationState.QUEUED).order_by("lane", "-priority", "queued_at", "pk")

    def due_again(self, now: datetime) -> Self:
        """Return the operations whose wait is over."""
        return self.filter(state=OperationState.WAITING, next_try_at__lte=now, cancel_requested_at=None)

    def free(self, now: datetime) -> Self:
        """Return those that no worker does: without a lease, or with one that ended or that a clock gave ahead."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_until__gt=now + CLOCK_JUMP))

    def leased(self, now: datetime) -> Self:
        """Return those that a worker does now."""
        return self.filter(lease_until__gte=now, lease_until__lte=now + CLOCK_JUMP)

    def claimable(self, now: datetime) -> Self:
        """Return those that a worker can do now: running ones, and ones to be cleaned up because they are to end."""
        running = Q(state=OperationState.RUNNING, cancel_requested_at=None)
        cancelled = Q(cancel_requested_at__isnull=False, finished_at=None, next_try_at__lte=now)
        expired = Q(expires_at__isnull=False, expires_at__lte=now, finished_at=None, cancel_requested_at=None)
        return self.filter(running | cancelled | expired).free(now)


class Operation(RetriedWork):
    """Work that was requested. The row of its kind has a one-to-one key to it.

    `uuid` is the public id. Sizes and progress are in bytes, rates in bytes per second, times in UTC. `stage` is a word
    of the kind. `bytes_total` is null while it is unknown. `lane`, `priority` (higher first) and `queued_at` order the
    queue; `reserved_bytes` is the space the operation needs in the object store until it ends. `next_try_at` is the due
    time in the state WAITING, and `waiting_for` a sentence that says what is awaited; in the state RUNNING
    `next_try_at` orders the slices. `attempts` counts the slices that were begun since one last ended well. `holder`,
    `lease_until` and `fence` are the lease of the worker that does a slice, as in `Job`. `checkpoint` is what the kind
    resumes from. `can_retry`: a retry of the failed operation may succeed.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=40)
    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    title = models.CharField(max_length=500)
    state = models.CharField(max_length=9, choices=OperationState, default=OperationState.QUEUED)
    stage = models.CharField(max_length=40, blank=True, default="")
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(null=True)
    rate_bps = models.BigIntegerField(null=True)
    progress_at = models.DateTimeField(null=True, help_text="When bytes_done was last recorded.")
    lane = models.SmallIntegerField(choices=Lane, default=Lane.NORMAL)
    priority = models.SmallIntegerField(default=0)
    reserved_bytes = models.BigIntegerField(default=0)
    waiting_for = models.CharField(max_length=300, blank=True, default="")
    holder = models.CharField(max_length=200, blank=True, default="")
    lease_until = models.DateTimeField(null=True)
    fence = models.BigIntegerField(default=0)
    checkpoint = models.JSONField(default=dict)
    can_retry = models.BooleanField(default=False)
    woken = models.BooleanField(default=False, help_text="`wake` was called while a worker did a slice.")
    cancel_requested_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(db_default=Now(), help_text="Since when it waits in the queue; orders it.")
    started_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=Now(), help_text="When state or progress last changed.")
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    objects = OperationQuerySet.as_manager()
    queue_position: int | None = None  # set by `queries.set_positions`

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=OperationState.values), name="operation_state_known"),
            models.CheckConstraint(
                condition=Q(bytes_done__gte=0, reserved_bytes__gte=0)
                & (Q(bytes_total=None) | Q(bytes_total__gte=F("bytes_done"))),
                name="operation_bytes",
            ),
        ]
        indexes = [
            models.Index(fields=["lane", "-priority", "queued_at", "id"], condition=Q(state="queued"), name="op_queue"),
            models.Index(fields=["next_try_at"], condition=Q(state="waiting"), name="op_waiting"),
            models.Index(fields=["next_try_at"], condition=Q(state="running"), name="op_running"),
            models.Index(fields=["lease_until"], condition=Q(lease_until__isnull=False), name="op_leased"),
            models.Index(fields=["queued_at"], condition=Q(state="queued"), name="op_queued_at"),
            models.Index(fields=["kind"], condition=Q(started_at__isnull=False, finished_at=None), name="op_begun"),
            models.Index(
                fields=["cancel_requested_at"],
                condition=Q(cancel_requested_at__isnull=False, finished_at=None),
                name="op_cancelling",
            ),
            models.Index(
                fields=["expires_at"], condition=Q(expires_at__isnull=False, finished_at=None), name="op_expiring"
            ),
            models.Index(fields=["finished_at"], condition=Q(finished_at__isnull=False), name="op_finished"),
            models.Index(fields=["airline", "-created_at"], name="op_airline"),
            models.Index(fields=["user", "-created_at"], name="op_user"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.uuid}"

    def current_request(self) -> OperationQuerySet:
        """Return this row while the operation is open and this worker's claim of it is the last, else no row."""
        return Operation.objects.open().filter(pk=self.pk, fence=self.fence, holder=self.holder)

    @property
    def is_open(self) -> bool:
        """Whether the operation has not ended."""
        return self.state in OPEN_STATES


class OperationQueue(models.Model):
    """The only row of this table: admission locks it, so that one worker at a time admits operations.

    `admitted_at`: when operations were last admitted. `is_changed`: positions in the queue have changed since
    `published_at`, when they were last published.
    """

    admitted_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    is_changed = models.BooleanField(default=False)

    objects: ClassVar[models.Manager[OperationQueue]] = models.Manager()

    def __str__(self) -> str:
        return "the queue of operations"
