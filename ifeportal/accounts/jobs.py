"""Jobs of sign-in: send password reset links, and delete what has ended. Each runs under the lease of the job."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef
from django.utils import timezone

from ifeportal.accounts import password_reset
from ifeportal.accounts.limits import attempts
from ifeportal.accounts.models import PasswordResetRequest
from ifeportal.conf.authentication import COOL_OFF
from ifeportal.jobs.leases import Lease
from ifeportal.jobs.runner import JobFailed, run
from ifeportal.storage.deletion_time import deletion_time
from loader.errors import WorldError

BETWEEN_SENDINGS: Final = 15.0  # seconds; a request makes the job due at once
BETWEEN_CLEANINGS: Final = 86_400.0  # seconds
FAILURES_SHOWN_FOR: Final = timedelta(days=1)  # failed sign-ins in the admin, after they stopped counting


def send_reset_links() -> None:
    """Send the requested password reset links."""
    run(
        password_reset.RESET_JOB,
        BETWEEN_SENDINGS,
        lambda lease: password_reset.send_links(timezone.now, lease),
    )


def clear_sessions() -> None:
    """Delete ended sessions, counts of past attempts, and requests that were never answered.

    Raises JobFailed if the clocks of the portal and the database contradict each other. The object store is not asked:
    signing in does not depend on it.
    """

    def work(lease: Lease) -> None:
        try:
            now = deletion_time(None)
        except WorldError as error:
            raise JobFailed(f"{error.code}: {error}") from error
        _clear(lease, now)

    run("clear_sessions", BETWEEN_CLEANINGS, work)


def _clear(lease: Lease, now: datetime) -> None:
    lease.check_fence()
    Session.objects.filter(expire_date__lte=now).delete()
    open_session = Session.objects.filter(session_key=OuterRef("session_key"))
    UserSession.objects.filter(~Exists(open_session)).delete()
    attempts.delete_ended(now)
    AccessAttempt.objects.filter(attempt_time__lte=now - COOL_OFF - FAILURES_SHOWN_FOR).delete()
    PasswordResetRequest.objects.filter(requested_at__lte=now - password_reset.MAX_AGE).delete()
