"""Password reset links: requested by a page, sent by a job. Without a mail server there are none.

The request stores the address alone, so it takes as long for an unknown address as for a known one. The job looks the
users up, creates the links and sends them; a link is in no row, no log and no error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from smtplib import SMTPException
from typing import Any, Final

from allauth.account.forms import default_token_generator
from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.internal.userkit import filter_users_by_email
from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils import timezone

from ifeportal.accounts.models import PasswordResetRequest
from ifeportal.jobs.queue import make_due
from ifeportal.jobs.retries import WorkFailure
from ifeportal.models import User
from ifeportal.work_lease import WorkLease
from loader.errors import Code

RESET_JOB: Final = "send_reset_links"
MAX_AGE: Final = timedelta(hours=1)  # of a request; an older one is not answered any more
logger = logging.getLogger(__name__)


def requires_email(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return the view, except that it does not exist (404) without a mail server: its link would be in the log."""

    @wraps(view)
    def guarded(request: HttpRequest, *arguments: Any, **keywords: Any) -> HttpResponseBase:
        if not settings.PASSWORD_RESET_BY_EMAIL:
            raise Http404
        return view(request, *arguments, **keywords)

    return guarded


def request_links(email: str) -> None:
    """Have the links sent to the users with this address, if there are any."""
    with transaction.atomic():
        PasswordResetRequest.objects.create(email=email, requested_at=timezone.now())
        transaction.on_commit(lambda: make_due(RESET_JOB))


def send_links(clock: Callable[[], datetime], lease: WorkLease) -> None:
    """Answer every request that is due, the oldest first."""
    while (request := PasswordResetRequest.objects.due(clock()).order_by("requested_at", "pk").first()) is not None:
        lease.heartbeat()
        _answer(request, clock())


def _answer(request: PasswordResetRequest, now: datetime) -> None:
    """Make one attempt. It is counted first, so that a request that kills its worker is not retried forever."""
    if not request.begin_attempt(now):
        return
    if request.attempts > request.retry_policy.max_attempts or request.requested_at < now - MAX_AGE:
        request.delete()
        return
    try:
        send(request.email)
    except (SMTPException, OSError) as error:
        _retry_or_give_up(request, error, now)
    else:
        request.delete()


def send(email: str) -> None:
    """Send a link to each active user with this address and a password. Raises SMTPException and OSError."""
    users = filter_users_by_email(email, is_active=True, prefer_verified=True, for_login=True)
    # Users of single sign-on must not get a password by e-mail.
    with_password = [user for user in users if isinstance(user, User) and user.has_usable_password()]
    if with_password:
        request_password_reset(None, email, with_password, default_token_generator)


def _retry_or_give_up(request: PasswordResetRequest, error: Exception, now: datetime) -> None:
    """Only the kind of error is stored and logged: its text can contain the address."""
    failure = WorkFailure(Code.NETWORK, f"The mail server did not accept the e-mail: {type(error).__name__}.")
    logger.warning("password reset: attempt %s: %s", request.attempts, failure.error)
    if not request.postpone(failure, now):
        request.delete()
