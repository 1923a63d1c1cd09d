"""Forms for one-time codes: authenticator app and recovery codes. Each code is counted before it is checked.

The counts are in the database: a code is checked at most CODES times for a user, in all processes together, and a code
of the app is accepted once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa import app_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from django import forms

from ifeportal.accounts.limits import attempts
from ifeportal.accounts.limits.attempts import Limit
from ifeportal.models import User

CODES: Final = Limit("code", 5, 300)  # by user: codes of the app, recovery codes, passkeys as a second factor
# An accepted code stays valid for one step of the app and the tolerated ones around it.
USED_CODES: Final = Limit("used-code", 1, (2 * app_settings.TOTP_TOLERANCE + 2) * app_settings.TOTP_PERIOD)


@contextmanager
def counted(user: User) -> Iterator[None]:
    """Count a code of the user; forget the count if the block raises nothing. Raises ValidationError if too many."""
    if not attempts.take(CODES, str(user.pk)):
        raise get_account_adapter().validation_error("too_many_login_attempts")
    yield
    attempts.clear(CODES, str(user.pk))


class _CountedCode(forms.Form):
    """Mix-in: a code that is counted before it is checked."""

    user: User

    def clean_code(self) -> str:
        with counted(self.user):
            code: str = super().clean_code()  # type: ignore[misc]  # of the form it is mixed into
            self._check_unused(code)
        return code

    def _check_unused(self, code: str) -> None:
        """Raises ValidationError for a code of the app that was accepted before."""
        authenticator: Any = getattr(self, "authenticator", None)
        if authenticator is None or authenticator.type != Authenticator.Type.TOTP:
            return
        text = f"{authenticator.pk}:{normalize_user_code(code)}"
        if not attempts.take(USED_CODES, sha256(text.encode()).hexdigest()):
            raise get_adapter().validation_error("incorrect_code")


class SecondFactorForm(_CountedCode, AuthenticateForm):
    """A code as the second factor."""


class ConfirmCodeForm(_CountedCode, ReauthenticateForm):
    """Confirmation of the user's identity with a code."""


class ActivateAppForm(_CountedCode, ActivateTOTPForm):
    """The first code of an authenticator app."""
