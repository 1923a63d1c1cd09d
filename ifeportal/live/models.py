"""Tables of the change feed: one row per object that can change, and the counter that orders the changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db import models
from django.db.models import Q

from ifeportal.access import Role, ScopedQuerySet, sees_every_airline
from ifeportal.models import Airline


class Counter(models.Model):
    """The current revision, updated last in a transaction so that revisions commit in order; and rows of `pruning`."""

    rev = models.BigIntegerField(default=0)

    objects: ClassVar[models.Manager[Counter]] = models.Manager()

    def __str__(self) -> str:
        return f"revision {self.rev}"


class ChangeQuerySet(ScopedQuerySet["Change"]):
    def visible_to(self, user: AbstractUser | AnonymousUser) -> Self:
        """Return the changes of the user's airlines that their role there may see, and their personal ones.

        Staff see those of every role; personal changes of other users stay hidden from them too.
        """
        return self._of_airlines_of(user, _addressed_to)

    def relevant_to(self, user: AbstractUser | AnonymousUser) -> Self:
        """Return the visible changes, and those of objects that the user may no longer see."""
        return self._of_airlines_of(user, lambda user: _addressed_to(user) | ~Q(retracted_from=""))

    def _of_airlines_of(self, user: AbstractUser | AnonymousUser, condition: Callable[[AbstractUser], Q]) -> Self:
        if isinstance(user, AnonymousUser) or not user.is_active:
            return self.none()
        rows = self.filter(condition(user))
        if sees_every_airline(user):
            return rows
        place = Q(airline__in=Airline.objects.visible_to(user).values("pk"))
        if getattr(user, "limited_to", None) is None:
            place |= Q(airline=None)
        return rows.filter(place)


def _addressed_to(user: AbstractUser) -> Q:
    """Return the condition: for everyone, for this user, or for a role they have. Read-only tokens count in full."""
    for_user = Q(user=None) | Q(user=user)
    if user.is_staff:
        return for_user
    for_role = Q(min_role__in=["", Role.VIEWER])
    for rank, role in enumerate(Role.values[1:], start=1):
        airlines = Airline.objects.filter(memberships__user=user.pk, memberships__role__in=Role.values[rank:])
        for_role |= Q(min_role=role, airline__in=airlines.values("pk"))
    return for_user & for_role


class Change(models.Model):
    """The newest state of one object of one topic. However often it changes, it is one row.

    `airline`, `tail` and `campaign` decide which pages it concerns; `state` is the object as the API would show it.

    `min_role` and `user` decide who may see it. After its audience was narrowed, `retracted_from` is the lowest role
    that saw the object before: members with that role who can no longer see it receive its deletion, without its state.
    """

    topic = models.CharField(max_length=20)
    object = models.BigIntegerField()
    rev = models.BigIntegerField(db_index=True)
    op = models.CharField(max_length=6, choices=[("put", "put"), ("delete", "delete")])
    airline = models.ForeignKey("ifeportal.Airline", null=True, on_delete=models.CASCADE, related_name="+")
    tail = models.CharField(max_length=200, blank=True)
    campaign = models.CharField(max_length=200, blank=True)
    min_role = models.CharField(max_length=8, choices=Role, blank=True, default="", db_default="")
    user = models.ForeignKey("ifeportal.User", null=True, on_delete=models.CASCADE, related_name="+", db_index=False)
    retracted_from = models.CharField(max_length=8, choices=Role, blank=True, default="", db_default="")
    state = models.JSONField(default=dict)

    objects = ChangeQuerySet.as_manager()

    class Meta:
        ordering = ["rev"]
        constraints = [
            models.UniqueConstraint(fields=["topic", "object"], name="change_once_per_object"),
            models.CheckConstraint(
                condition=Q(airline__isnull=False) | Q(user__isnull=False), name="change_has_airline_or_user"
            ),
        ]
        indexes = [models.Index(fields=["airline", "rev"])]

    def __str__(self) -> str:
        return f"{self.topic} {self.object} at revision {self.rev}"
