"""`reset_second_factor`: remove the second factor of a user who lost telephone, key and recovery codes."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from ifeportal import audit
from ifeportal.models import User

HELP = (
    "Take away every second factor of a user: authenticator app, passkeys, recovery codes. All their sessions end. "
    "They sign in with their password and set up a new one. Make sure first that it is them who asks."
)


class Command(BaseCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="the user's name")

    def handle(self, *args: Any, **options: Any) -> str:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']}.", returncode=2)
        with transaction.atomic():
            found = Authenticator.objects.filter(user=user)
            kinds = sorted(found.values_list("type", flat=True))
            found.delete()
            sessions = list(UserSession.objects.filter(user=user))
            for session in sessions:
                session.end()
            audit.record(audit.Actor.command(), "user.second-factor.reset", user.get_username())
        return f"Taken away: {', '.join(kinds) or 'nothing, there was none'}. Sessions ended: {len(sessions)}."
