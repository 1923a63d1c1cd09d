"""Forms in place of django-allauth's own: sign-in and password reset."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm, ResetPasswordForm

from ifeportal.models import User


class SignInForm(LoginForm):
    """User name and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "User name"


class ForgottenPasswordForm(ResetPasswordForm):
    """The address a link to set a new password is sent to."""

    def clean_email(self) -> str:
        """Only to those who have a password: who signs in elsewhere shall not get one by mail."""
        address: str = super().clean_email()
        self.users: list[User] = [user for user in self.users if user.has_usable_password()]
        return address
