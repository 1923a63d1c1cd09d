"""Users, airlines and who belongs to which; and the rows by which periodic work is claimed."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Lower
from django.urls import reverse

from ifeportal.access import ScopedQuerySet


class User(AbstractUser):
    """A person or program that signs in. `is_staff` sees every airline; others see those of their memberships."""


class AirlineQuerySet(ScopedQuerySet["Airline"]):
    airline_path = ""


class Airline(models.Model):
    """An operator; the first segment of every key in both buckets."""

    name = models.CharField(max_length=200, unique=True, help_text="As it stands in the bucket keys.")
    title = models.CharField(max_length=200, blank=True, help_text="What people call it; the name if empty.")
    discovered = models.BooleanField(default=False, help_text="Made by the poller from a key, not by a person.")
    archive_after_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="Loads that finished so many days ago are packed into one object each. Empty: as ARCHIVE_AFTER says.",
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


class MembershipQuerySet(ScopedQuerySet["Membership"]):
    pass


class Membership(models.Model):
    """A user may see an airline."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    airline = models.ForeignKey(Airline, on_delete=models.CASCADE, related_name="memberships")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ["airline__name", "user__username"]
        constraints = [models.UniqueConstraint(fields=["user", "airline"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} of {self.airline}"


class Job(models.Model):
    """One piece of periodic work (`name`, e.g. "poll:ACME"): when it is due, who holds it, how it went.

    It is claimed by conditional update; `fence` grows with each claim, so that a holder whose lease ran out
    can tell. All times UTC.
    """

    name = models.CharField(max_length=250, unique=True)
    due_at = models.DateTimeField()
    queued_at = models.DateTimeField(null=True, blank=True)
    holder = models.CharField(max_length=200, blank=True)
    fence = models.PositiveBigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    succeeded_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="In a row; 0 after a success.")
    error = models.TextField(blank=True)
    steady_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when it has succeeded again and again without a long gap."
    )
    found_at = models.DateTimeField(null=True, blank=True, help_text="When it last found something new.")
    watched_until = models.DateTimeField(null=True, blank=True, help_text="Until then somebody looks at what it finds.")

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["due_at"])]

    def __str__(self) -> str:
        return self.name
