"""`encrypt_second_factors`: encrypt second factors with the current SECRET_KEY, before a fallback key is removed."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from ifeportal import audit
from ifeportal.accounts.encryption import Undecipherable, convert, reencrypt

HELP = (
    "Encrypt the secrets of authenticator apps and recovery codes with SECRET_KEY, if they are stored in plaintext or "
    "encrypted with a key of SECRET_KEY_FALLBACKS. Can run while the portal is running, and more than once."
)


class Command(BaseCommand):
    help = HELP

    def handle(self, *args: Any, **options: Any) -> str:
        keys = Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN).order_by("pk")
        results = {pk: _encrypt(pk) for pk in keys.values_list("pk", flat=True)}
        if unreadable := [pk for pk, changed in results.items() if changed is None]:
            names = Authenticator.objects.filter(pk__in=unreadable).values_list("user__username", flat=True)
            users = ", ".join(sorted(set(names)))
            raise CommandError(
                f"No key decrypts the second factors of: {users}. "
                "Add the key that encrypted them to SECRET_KEY_FALLBACKS."
            )
        return f"Re-encrypted: {sum(map(bool, results.values()))} of {len(results)}."


@transaction.atomic
def _encrypt(pk: int) -> bool | None:
    """Encrypt one authenticator. Return whether it changed; None if no configured key decrypts it."""
    row = Authenticator.objects.select_for_update().filter(pk=pk).first()
    if row is None:
        return False
    try:
        changed = convert(row.data, reencrypt)
    except Undecipherable:
        return None
    if changed == row.data:
        return False
    row.data = changed
    row.save(update_fields=["data"])
    audit.record(audit.Actor.command(), "user.second-factor.encrypted", row.user.get_username())
    return True
