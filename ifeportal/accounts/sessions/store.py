"""Sessions in the database that end SESSION_COOKIE_AGE after the sign-in, however often they are saved.

The end is the row's `expire_date`, which pages, API, sockets and streams all check. Name this module in SESSION_ENGINE.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.utils import timezone

SIGNED_IN_AT: Final = "signed_in_at"  # key of the Unix time of the sign-in
ANONYMOUS_AGE: Final = 3_600  # seconds; for a sign-in that is not complete, or a password reset


class SessionStore(db.SessionStore):
    """A session with a fixed end: after the sign-in, or after ANONYMOUS_AGE without one."""

    def save(self, must_create: bool = False) -> None:
        """Write the session. The first write with a user sets the time of the sign-in."""
        if not must_create and SESSION_KEY in self and SIGNED_IN_AT not in self:
            self[SIGNED_IN_AT] = time.time()
        super().save(must_create)

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return the seconds until the session ends."""
        return min(super().get_expiry_age(**kwargs), max(int(self._seconds_left()), 0))

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """Return when the session ends (UTC)."""
        return min(super().get_expiry_date(**kwargs), timezone.now() + timedelta(seconds=self._seconds_left()))

    def _seconds_left(self) -> float:
        if SESSION_KEY not in self:
            return ANONYMOUS_AGE
        now = time.time()
        signed_in_at: float = self.get(SIGNED_IN_AT, now)
        return signed_in_at + settings.SESSION_COOKIE_AGE - now
