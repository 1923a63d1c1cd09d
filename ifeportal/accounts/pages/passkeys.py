"""Forms for passkeys that treat a malformed credential as a wrong code.

The forms of django-allauth raise on some malformed input. Touches the same rows as they do.
"""

from __future__ import annotations

from typing import Any, Final

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms

from ifeportal.accounts.pages.codes import counted
from ifeportal.models import User

CREDENTIAL_LIMIT: Final = 65_536  # characters of a credential, which may contain a large attestation certificate
# Raised for a missing part, a part of the wrong type, or deeply nested JSON.
PARSE_ERRORS: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class CredentialField(forms.JSONField):
    """JSON of at most CREDENTIAL_LIMIT characters."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > CREDENTIAL_LIMIT:
            raise get_adapter().validation_error("incorrect_code")
        try:
            return super().to_python(value)
        except PARSE_ERRORS as error:
            raise get_adapter().validation_error("incorrect_code") from error


class _CredentialForm(forms.Form):
    """Mix-in: a credential that authenticates the user. If the user is known it is counted, as a code is."""

    credential = CredentialField(widget=forms.HiddenInput)
    user: User | None

    def clean_credential(self) -> Authenticator:
        if self.user is None:
            return self._check()
        with counted(self.user):
            return self._check()

    def _check(self) -> Authenticator:
        try:
            authenticator: Authenticator = super().clean_credential()  # type: ignore[misc]  # of the form it is mixed into
        except PARSE_ERRORS as error:
            raise get_adapter().validation_error("incorrect_code") from error
        return authenticator


class PasskeySignInForm(_CredentialForm, LoginWebAuthnForm):
    """Sign-in with a passkey, without a password."""


class PasskeySecondFactorForm(_CredentialForm, AuthenticateWebAuthnForm):
    """A passkey or security key as the second factor."""


class PasskeyReauthenticationForm(_CredentialForm, ReauthenticateWebAuthnForm):
    """Confirmation of the user's identity with a passkey."""


class AddPasskeyForm(AddWebAuthnForm):
    """Registration of a passkey or security key."""

    credential = CredentialField(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        try:
            cleaned: dict[str, Any] = super().clean()
        except PARSE_ERRORS as error:
            raise get_adapter().validation_error("incorrect_code") from error
        return cleaned
