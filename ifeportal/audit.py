"""Audit log: every change by a person is recorded, in the transaction of the change.

Pages, admin and API record the user of the request; commands and jobs an actor without a request. Touches the log only.
An entry on a secret records only that it changed, never its value or hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request

from ifeportal.client_address import client_address
from ifeportal.models import Airline, AuditEntry, User

VALUE_LIMIT: Final = 1000  # characters of a value that are stored
HIDDEN: Final = "(hidden)"
SECRET_WORDS: Final = ("password", "secret", "token", "digest", "private")  # parts of names of secret fields
SECRET_NAMES: Final = ("key", "data", "extra_data", "settings")  # secret fields of second factors and of allauth
Changes = Mapping[str, tuple[object, object]]
Via = Literal["page", "admin", "api", "command", "job"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Author of a change: user, channel and client address. `user` is None for the system and anonymous requests."""

    user: User | None
    via: Via
    address: str | None = None

    @classmethod
    def of(cls, request: HttpRequest | Request) -> Self:
        """Return the user of a request."""
        user = request.user if request.user.is_authenticated else None
        return cls(user, via(request.path), client_address(request))

    @classmethod
    def command(cls) -> Self:
        """Return the system, for a management command, which runs without a user of the portal."""
        return cls(None, "command")

    @classmethod
    def job(cls, requested_by: User | None) -> Self:
        """Return the user who requested the job; None for a scheduled job or a deleted user."""
        return cls(requested_by, "job")


def record(
    actor: Actor,
    action: str,
    target: str,
    *,
    airline: Airline | None = None,
    changes: Changes | None = None,
) -> None:
    """Record a change: `action` is its key, `target` the display name of the changed object.

    `changes` is {field: (before, after)}, without secrets. Call it in the transaction of the change.
    """
    AuditEntry.objects.create(
        at=timezone.now(),
        user=actor.user,
        who=actor.user.get_username() if actor.user else "",
        airline=airline if airline and airline.pk else None,
        whose=airline.name if airline else "",
        action=action[:60],
        target=_without_nul(target)[:500],
        changes={name: [_json_value(before), _json_value(after)] for name, (before, after) in (changes or {}).items()},
        via=actor.via,
        address=actor.address,
    )


def changes_of(form: forms.BaseForm, *, added: bool = False) -> dict[str, tuple[object, object]]:
    """Return the changes of a valid form; for a row just `added`, all its non-empty values."""
    values = form.cleaned_data
    if added:
        return {
            name: _before_and_after(form, name, None, values[name])
            for name in values
            if values[name] not in (None, "", [], False)
        }
    return {
        name: _before_and_after(form, name, form.get_initial_for_field(form.fields[name], name), values[name])
        for name in form.changed_data
        if name in values
    }


def _before_and_after(form: forms.BaseForm, name: str, before: object, after: object) -> tuple[object, object]:
    if name in SECRET_NAMES or any(word in name for word in SECRET_WORDS):
        return (HIDDEN if before else "", HIDDEN if after else "")
    field = form.fields.get(name)
    if isinstance(field, forms.ModelMultipleChoiceField):
        return (_joined_names(before), _joined_names(after))
    if isinstance(field, forms.ModelChoiceField) and before is not None and field.queryset is not None:
        before = field.queryset.filter(pk=before).first() or before
    return (before, after)


def _joined_names(rows: object) -> str:
    return ", ".join(sorted(str(row) for row in rows)) if isinstance(rows, QuerySet | list) else ""


def via(path: str) -> Via:
    """Return the channel of a request, by its path: admin, api or page."""
    return "admin" if path.startswith("/admin/") else "api" if path.startswith("/api/") else "page"


def _json_value(value: object) -> object:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return value if value is None or isinstance(value, bool | int | float) else _without_nul(str(value))[:VALUE_LIMIT]


def _without_nul(text: str) -> str:
    """Remove NUL, which PostgreSQL stores neither in text nor in JSON."""
    return text.replace("\0", "")
