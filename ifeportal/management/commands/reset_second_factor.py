"""`reset_second_factor`: remove the second factors of a user who lost phone, key and recovery codes."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from ifeportal import audit
from ifeportal.accounts.sessions.revocation import end_sessions, suspend_tokens
from ifeportal.models import User

HELP = (
    "Remove all second factors of a user: authenticator app, passkeys, recovery codes. Ends all their sessions and "
    "invalidates their API tokens. The user then signs in with the password and sets up a new second factor. Verify "
    "the user's identity first."
)


class Command(BaseCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="user name")

    def handle(self, *args: Any, **options: Any) -> str:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"User {options['user']} does not exist.", returncode=2)
        with transaction.atomic():
            factors = Authenticator.objects.filter(user=user)
            kinds = sorted(factors.values_list("type", flat=True))
            factors.delete()
            sessions = end_sessions(user)
            suspend_tokens(user)
            audit.record(audit.Actor.command(), "user.second-factor.reset", user.get_username())
        return f"Removed: {', '.join(kinds) or 'none'}. Sessions ended: {sessions}."
