"""Forms for passkeys that answer every malformed credential with "wrong code" instead of an error.

django-allauth's forms raise on some malformed input. Touches the same rows as they do.
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

CREDENTIAL_LIMIT: Final = 65_536  # characters of what an authenticator says; a large certificate among it
# What reading it raises where a part is missing, of another type, or has brackets in brackets without end.
PARSE_ERRORS: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class CredentialField(forms.JSONField):
    """JSON within bounds."""

    def to_python(self, value: Any) -> Any:
        """The value. Raises ValidationError."""
        if isinstance(value, str) and len(value) > CREDENTIAL_LIMIT:
            raise get_adapter().validation_error("incorrect_code")
        try:
            return super().to_python(value)
        except PARSE_ERRORS as error:
            raise get_adapter().validation_error("incorrect_code") from error


class _CredentialForm(forms.Form):
    """A passkey shown to prove who somebody is."""

    credential = CredentialField(widget=forms.HiddenInput)

    def clean_credential(self) -> Authenticator:
        """The passkey. Raises ValidationError."""
        try:
            found: Authenticator = super().clean_credential()  # type: ignore[misc]  # of the form it is mixed into
        except PARSE_ERRORS as error:
            raise get_adapter().validation_error("incorrect_code") from error
        return found


class PasskeySignInForm(_CredentialForm, LoginWebAuthnForm):
    """To sign in without a password."""


class PasskeySecondFactorForm(_CredentialForm, AuthenticateWebAuthnForm):
    """As the second factor."""


class PasskeyReauthenticationForm(_CredentialForm, ReauthenticateWebAuthnForm):
    """To confirm once more who one is."""


class AddPasskeyForm(AddWebAuthnForm):
    """A passkey to sign in with from now on."""

    credential = CredentialField(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """All of it. Raises ValidationError."""
        try:
            cleaned: dict[str, Any] = super().clean()
        except PARSE_ERRORS as error:
            raise get_adapter().validation_error("incorrect_code") from error
        return cleaned
