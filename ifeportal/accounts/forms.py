"""Forms that replace those of django-allauth: sign-in and password reset."""

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
    """The e-mail address to send a password reset link to."""

    def clean_email(self) -> str:
        """Exclude users without a password: users of single sign-on must not get one by e-mail."""
        address: str = super().clean_email()
        self.users: list[User] = [user for user in self.users if user.has_usable_password()]
        return address
