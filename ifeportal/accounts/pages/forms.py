"""Forms that replace those of django-allauth: sign-in, change and reset of a password."""

from __future__ import annotations

from typing import Any, Final

from allauth.account.adapter import get_adapter
from allauth.account.forms import ChangePasswordForm, LoginForm, ResetPasswordForm, UserTokenForm
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.http import HttpRequest

from ifeportal.accounts.limits import attempts
from ifeportal.accounts.limits.attempts import Limit
from ifeportal.accounts.limits.networks import client_network
from ifeportal.accounts.limits.throttles import too_many_attempts
from ifeportal.accounts.password_reset import request_links

RESET_LINKS: Final = Limit("reset-link", 5, 900)  # by e-mail address
WRONG_KEYS: Final = Limit("wrong-reset-key", 5, 900)  # by user and network


class SignInForm(LoginForm):
    """User name and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "User name"

    @property
    def offers_password_reset(self) -> bool:
        """Whether the page links to password reset by e-mail."""
        return bool(settings.PASSWORD_RESET_BY_EMAIL)


class NewPasswordForm(ChangePasswordForm):
    """Change of the password. A wrong current password counts as a failed sign-in."""

    def clean_oldpassword(self) -> str:
        password: str = self.cleaned_data["oldpassword"]
        if not get_adapter().reauthenticate(self.user, password):
            raise get_adapter().validation_error("enter_current_password")
        return password


class ForgottenPasswordForm(ResetPasswordForm):
    """The e-mail address to send a password reset link to. Whether a user has it is looked up later, by the job."""

    def clean_email(self) -> str:
        """Return the address, counted: links are only sent so often."""
        address: str = self.cleaned_data["email"].lower()
        if not attempts.take(RESET_LINKS, address):
            until = attempts.next_at(RESET_LINKS, address)
            raise ImmediateHttpResponse(too_many_attempts(context.request, until))
        return address

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Have the links sent."""
        address: str = self.cleaned_data["email"]
        request_links(address)
        return address


class ResetKeyForm(UserTokenForm):
    """The user and the key of a password reset link, counted before the key is checked."""

    def clean(self) -> dict[str, Any]:
        """Raises ImmediateHttpResponse after too many wrong keys."""
        if "key" not in self.cleaned_data:
            return self._check()  # there is nothing to guess with
        subject = f"{self.cleaned_data.get('uidb36', '')[:40]} {client_network(context.request)}"
        if not attempts.take(WRONG_KEYS, subject):
            raise ImmediateHttpResponse(too_many_attempts(context.request, attempts.next_at(WRONG_KEYS, subject)))
        cleaned = self._check()
        attempts.clear(WRONG_KEYS, subject)
        return cleaned

    def _check(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        return cleaned
