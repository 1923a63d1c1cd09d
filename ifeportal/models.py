"""Models of the portal: users, tokens, airlines, memberships, audit entries, and jobs with their leases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Self

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone
from knox.models import AbstractAuthToken
from knox.settings import CONSTANTS

from ifeportal.access import Role, ScopedQuerySet

PACEMAKER: Final = "pacemaker"  # the job whose lease the process that wakes the workers holds; no worker runs it
CLOCK_JUMP: Final = timedelta(minutes=15)  # a time so far in the future came from a clock that was ahead
LATE_AFTER: Final = timedelta(seconds=15)  # after `due_at`; the job of a dead worker is taken over sooner


class User(AbstractUser):
    """A person or program that signs in. Staff see all airlines, other users those of their memberships.

    A request with a token sets the limits of the token on the user, for this request only: `limited_to` is the id of
    the only visible airline (None: all of the user's), `reads_only` forbids changes.

    A new `session_epoch` ends all sessions. Tokens that were created before `tokens_valid_from` (UTC) are invalid.
    """

    session_epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    tokens_valid_from = models.DateTimeField(null=True, blank=True, editable=False)

    limited_to: int | None = None
    reads_only: bool = False

    def set_password(self, raw_password: str | None) -> None:
        """Set the password. Once the row is saved, earlier sessions and tokens are invalid.

        When Django replaces the hash of the same password, it saves the hash alone, and tokens stay valid.
        """
        super().set_password(raw_password)
        self.tokens_valid_from = timezone.now()

    def set_unusable_password(self) -> None:
        """Remove the password. Once the row is saved, earlier sessions and tokens are invalid."""
        super().set_unusable_password()
        self.tokens_valid_from = timezone.now()

    def get_session_auth_hash(self) -> str:
        """Return the value that a session of the user must have. It changes with the password and with the epoch."""
        return self._with_epoch(super().get_session_auth_hash())

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """Return the values of sessions that an earlier SECRET_KEY signed."""
        return map(self._with_epoch, super().get_session_auth_fallback_hash())

    def _with_epoch(self, value: str) -> str:
        return f"{value}:{self.session_epoch}" if self.session_epoch else value


class AirlineQuerySet(ScopedQuerySet["Airline"]):
    airline_path = ""


class Airline(models.Model):
    """An airline. Its name is the first segment of every key in both buckets."""

    name = models.CharField(max_length=200, unique=True, help_text="As in the bucket keys.")
    title = models.CharField(max_length=200, blank=True, help_text="Display name; empty to use the name.")
    discovered = models.BooleanField(default=False, help_text="Created by the poller from a key, not by a user.")
    archive_after_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="Days after which a finished load is archived. Empty to use ARCHIVE_AFTER.",
    )
    stalled_after_minutes = models.PositiveSmallIntegerField(
        default=10,
        db_default=10,
        validators=[MinValueValidator(1), MaxValueValidator(1440)],
        help_text="Minutes without a byte, while its loader is alive, after which a load is stalled.",
    )
    silent_after_hours = models.PositiveSmallIntegerField(
        default=24,
        db_default=24,
        validators=[MinValueValidator(1), MaxValueValidator(2160)],
        help_text="Hours without anything new from a tail, after which it is silent.",
    )
    risk_before_hours = models.PositiveSmallIntegerField(
        default=48,
        db_default=48,
        validators=[MinValueValidator(1), MaxValueValidator(2160)],
        help_text="Hours before the exhibition starts, from which a load without a forecast is at risk.",
    )
    colour = models.CharField(
        max_length=7,
        blank=True,
        db_default="",
        validators=[RegexValidator(r"\A#[0-9a-f]{6}\Z", "Write it as #1a2b3c.")],
        help_text="Shown beside the airline's name, as #rrggbb.",
    )
    logo_tag = models.CharField(
        max_length=16, blank=True, db_default="", editable=False, help_text="Hash of the logo; empty without one."
    )
    contact = models.TextField(
        blank=True, db_default="", max_length=1000, help_text="Contact for this airline, for the staff on duty."
    )
    verify_archives = models.BooleanField(
        default=False, db_default=False, help_text="Unpack every uploaded .tgz to its end before it is accepted."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AirlineQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(Lower("name"), name="airline_name_differs_in_more_than_case")]

    def __str__(self) -> str:
        return self.title or self.name

    def get_absolute_url(self) -> str:
        return reverse("airline", args=[self.name])


class Logo(models.Model):
    """Logo of an airline, a re-encoded PNG. In its own table, so that queries for airlines load no images."""

    airline = models.OneToOneField(Airline, primary_key=True, on_delete=models.CASCADE, related_name="logo")
    png = models.BinaryField()

    def __str__(self) -> str:
        return f"Logo of {self.airline}"


class MembershipQuerySet(ScopedQuerySet["Membership"]):
    pass


class Membership(models.Model):
    """Gives a user access to an airline, with a role."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role, default=Role.VIEWER, db_default=Role.VIEWER.value)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ["airline__name", "user__username"]
        constraints = [models.UniqueConstraint(fields=["user", "airline"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} of {self.airline}"


VIA_CHOICES: Final = [(word, word) for word in ("page", "admin", "api", "command", "job")]


class AuditEntryQuerySet(ScopedQuerySet["AuditEntry"]):
    pass


class AuditEntry(models.Model):
    """One recorded change: who changed what, when (UTC), from where. Written with the change, and never modified.

    `who` and `whose` are copies of the names, so that the entry outlives the rows. `changes` contains no secrets:
    {field: [before, after]}. Managers of the airline read it; without an airline, only staff.
    """

    at = models.DateTimeField(db_index=True)
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    who = models.CharField(max_length=150, help_text="The user's name; empty for the system.", blank=True)
    airline = models.ForeignKey(Airline, null=True, blank=True, on_delete=models.SET_NULL, related_name="audit")
    whose = models.CharField(max_length=200, blank=True, help_text="The airline's name.")
    action = models.CharField(max_length=60, help_text="A code, such as tail.duty or campaign.published.")
    target = models.CharField(max_length=500, help_text="Display name of the changed object.")
    changes = models.JSONField(default=dict, blank=True)
    via = models.CharField(max_length=7, choices=VIA_CHOICES)
    address = models.GenericIPAddressField(null=True, blank=True, help_text="Address of the client.")

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["airline", "-at"])]

    def __str__(self) -> str:
        return f"{self.action}: {self.target}"


class TokenQuerySet(models.QuerySet["Token"]):
    def owned_by(self, user: AbstractUser | AnonymousUser) -> Self:
        return self.filter(user=user) if user.is_authenticated else self.none()

    def valid(self, now: datetime) -> Self:
        """Return unexpired tokens of active users, created since the user's credentials last changed."""
        current = Q(user__tokens_valid_from=None) | Q(created__gt=F("user__tokens_valid_from"))
        return self.filter(current, expiry__gt=now, user__is_active=True)


class Token(AbstractAuthToken):  # type: ignore[misc]  # knox has no annotations
    """API token: a program that sends its key acts as the user, within the limits of the token.

    Only the SHA-512 of the key and its first characters are stored. `expiry` and `used_at` are UTC; `used_at` is
    precise to the minute. A new password, or a second factor that is removed, invalidates the token.
    """

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    digest = models.CharField(max_length=CONSTANTS.DIGEST_LENGTH, unique=True, editable=False)
    name = models.CharField(max_length=100, help_text="Purpose of the token.")
    airline = models.ForeignKey(
        Airline,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="Empty for all airlines of the user.",
    )
    may_write = models.BooleanField(default=False, help_text="Otherwise the token is read-only.")
    has_second_factor = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Created in a session that used a second factor.",
    )
    used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = TokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created", "-pk"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="token_name_once")]

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"

    @property
    def begins_with(self) -> str:
        """The first characters of the key, to tell tokens apart."""
        return f"{self.token_key[:10]}…"


class JobQuerySet(models.QuerySet["Job"]):
    def without_pacemaker(self) -> Self:
        return self.exclude(name=PACEMAKER)

    def running(self, now: datetime) -> Self:
        """Return jobs with a valid lease, which no clock gave that was ahead."""
        return self.filter(lease_until__gte=now, lease_until__lte=now + CLOCK_JUMP)

    def free(self, now: datetime) -> Self:
        """Return jobs without a lease or with an expired one, also one that a clock gave that was ahead."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_until__gt=now + CLOCK_JUMP))

    def due(self, now: datetime) -> Self:
        """Return jobs that a worker should start now."""
        return self.free(now).due_by(now, now)

    def due_by(self, time: datetime, now: datetime) -> Self:
        """Return jobs due by `time`, and those that last started in the future.

        A clock that was ahead scheduled the latter: without this rule they would wait until its time has come.
        """
        return self.filter(Q(due_at__lte=time) | Q(started_at__gt=now + CLOCK_JUMP))

    def locked(self) -> JobQuerySet:
        """Return the same rows, locked until the transaction ends. All callers lock in one order, against deadlocks."""
        return Job.objects.filter(pk__in=list(self.order_by("pk").select_for_update().values_list("pk", flat=True)))

    def late(self, now: datetime) -> Self:
        """Return jobs that are overdue by more than LATE_AFTER, and need attention."""
        return self.without_pacemaker().free(now).filter(due_at__lt=now - LATE_AFTER)

    def failing(self) -> Self:
        return self.filter(failures__gt=0)


class Job(models.Model):
    """A periodic job (`name`, e.g. "poll:ACME"): when it is due, who holds its lease, and its last result.

    Claimed by a conditional update. `fence` grows with each claim, so that a holder whose lease expired notices.
    All times are UTC.
    """

    name = models.CharField(max_length=420, unique=True, help_text="kind, kind:airline or kind:airline/part")
    due_at = models.DateTimeField()
    holder = models.CharField(max_length=200, blank=True)
    fence = models.PositiveBigIntegerField(default=0, help_text="Number of runs started.")
    lease_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    succeeded_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Failures in a row; 0 after a success.")
    error = models.TextField(blank=True)
    steady_since = models.DateTimeField(
        null=True, blank=True, help_text="Start of the current series of successes without a long gap."
    )
    found_at = models.DateTimeField(null=True, blank=True, help_text="When a run last found something new.")
    watched_until = models.DateTimeField(null=True, blank=True, help_text="A page with its results is open until then.")

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["due_at"])]

    def __str__(self) -> str:
        return self.name

    @property
    def seconds(self) -> float | None:
        """Duration of the last run; None before the first one ends, and while a run is in progress."""
        if self.started_at is None or self.finished_at is None or self.finished_at < self.started_at:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def state(self, now: datetime) -> str:
        """Return `running`, `late`, `failing` (waiting for its next attempt), `due` or `waiting`.

        The pacemaker's own row is `running` or `away`.
        """
        if self.lease_until is not None and now <= self.lease_until <= now + CLOCK_JUMP:
            return "running"
        if self.name == PACEMAKER:
            return "away"
        if self.due_at < now - LATE_AFTER:
            return "late"
        if self.failures:
            return "failing"
        return "due" if self.due_at <= now else "waiting"

    def lag(self, now: datetime) -> float:
        """Return how many seconds the job is overdue; 0 while it is not due or is running."""
        if self.state(now) in ("running", "away"):
            return 0.0
        return max((now - self.due_at).total_seconds(), 0.0)
