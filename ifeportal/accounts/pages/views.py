"""Account pages that differ from django-allauth's own.

Touches rows of the request's user, through allauth. Every change gets an audit entry.
"""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.account.internal.flows.login import record_authentication
from allauth.account.views import PasswordChangeView, ReauthenticateView
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.views import IndexView
from allauth.mfa.base.views import ReauthenticateView as ConfirmWithCode
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from allauth.mfa.webauthn.internal.auth import WebAuthn
from allauth.mfa.webauthn.views import (
    AddWebAuthnView,
    EditWebAuthnView,
    ReauthenticateWebAuthnView,
    RemoveWebAuthnView,
)
from allauth.usersessions.models import UserSession
from allauth.usersessions.views import ListUserSessionsView
from django.contrib import messages
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils.dateformat import format as date_format
from django.utils.decorators import method_decorator

from ifeportal import audit
from ifeportal.accounts.second_factor import is_required
from ifeportal.accounts.sessions.revocation import end_other_sessions, renew_key, suspend_tokens
from ifeportal.models import User

ACCOUNT = reverse_lazy("mfa_index")


class AccountView(IndexView):
    """Account overview: password, second factors, recovery codes, open sessions, airlines."""

    template_name = "account/account.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {
            "identity": ", ".join(filter(None, [user.get_username(), user.get_full_name(), user.email])),
            "passkeys": [(key, _describe_passkey(key)) for key in context["authenticators"].get("webauthn", ())],
            "sessions": len(UserSession.objects.purge_and_list(user)),
            "memberships": user.memberships.select_related("airline"),
            "second_factor_required": is_required(user),
        }


def _describe_passkey(key: WebAuthn) -> str:
    kind = "Passkey" if key.is_passwordless else "Security key"
    last_used = key.instance.last_used_at
    used = f"last used {date_format(last_used, 'j M Y, H:i')}" if last_used else "never used"
    return f"{kind}, added {date_format(key.instance.created_at, 'j M Y')}, {used}"


class ChangePasswordView(PasswordChangeView):
    """Change of password; not for users of single sign-on, who have none."""

    success_url = ACCOUNT

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not (request.user.is_authenticated and request.user.has_usable_password()):
            messages.info(request, "You have no password here. You sign in with single sign-on.")
            return redirect(ACCOUNT)
        answer: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return answer


class _ConfirmView:
    """Mix-in: a confirmation of identity gives the session a new key (OWASP ASVS 7.2.4)."""

    request: HttpRequest

    def form_valid(self, form: Form) -> HttpResponse:
        answer: HttpResponse = super().form_valid(form)  # type: ignore[misc]  # of the view it is mixed into
        renew_key(self.request)
        return answer


class ConfirmPasswordView(_ConfirmView, ReauthenticateView):
    """Confirm with the password."""


class ConfirmCodeView(_ConfirmView, ConfirmWithCode):
    """Confirm with a code of an app or a recovery code."""


class ConfirmPasskeyView(_ConfirmView, ReauthenticateWebAuthnView):
    """Confirm with a passkey."""


class _AuditedView:
    """Mix-in: record the change `action` in the audit log, in the transaction of the change."""

    action = ""
    request: HttpRequest

    def form_valid(self, form: Form) -> HttpResponse:
        with transaction.atomic():
            answer: HttpResponse = super().form_valid(form)  # type: ignore[misc]  # of the view it is mixed into
            audit.record(audit.Actor.of(self.request), self.action, self.request.user.get_username())
        return answer


class _FirstUseView(_AuditedView):
    """Mix-in: setting up a second factor also proves possession of it."""

    def form_valid(self, form: Form) -> HttpResponse:
        """Make the change, and mark the session as signed in with a second factor."""
        answer = super().form_valid(form)
        record_authentication(self.request, self.request.user, "mfa", reauthenticated=True)
        return answer


class _RemovedFactorView(_AuditedView):
    """Mix-in: the removal of a second factor ends the other sessions and all tokens of the user."""

    def form_valid(self, form: Form) -> HttpResponse:
        assert isinstance(self.request.user, User)
        with transaction.atomic():
            answer = super().form_valid(form)
            suspend_tokens(self.request.user)
            end_other_sessions(self.request)
        return answer


class AddAppView(_FirstUseView, ActivateTOTPView):
    """Set up an authenticator app."""

    action = "user.app.added"


class RemoveAppView(_RemovedFactorView, DeactivateTOTPView):
    """Remove the authenticator app."""

    action = "user.app.removed"


class RenewCodesView(_AuditedView, GenerateRecoveryCodesView):
    """Replace the recovery codes."""

    action = "user.codes.renewed"


class AddPasskeyView(_FirstUseView, AddWebAuthnView):
    """Add a passkey or security key."""

    action = "user.passkey.added"


class RenamePasskeyView(_AuditedView, EditWebAuthnView):
    """Rename a passkey."""

    action = "user.passkey.renamed"
    success_url = ACCOUNT


class RemovePasskeyView(_RemovedFactorView, RemoveWebAuthnView):
    """Remove a passkey, unless it is the last second factor of a user who must have one."""

    action = "user.passkey.removed"
    success_url = ACCOUNT

    def form_valid(self, form: Form) -> HttpResponse:
        key: Authenticator = self.get_object()
        if not get_adapter().can_delete_authenticator(key):
            messages.error(self.request, get_adapter().error_messages["cannot_delete_authenticator"])
            return redirect(ACCOUNT)
        return super().form_valid(form)


@method_decorator(reauthentication_required(allow_get=True), name="dispatch")
class SessionListView(ListUserSessionsView):
    """List the user's sessions; after a confirmation of identity, end all others."""

    success_url = ACCOUNT

    def form_valid(self, form: Form) -> HttpResponse:
        with transaction.atomic():
            audit.record(audit.Actor.of(self.request), "user.sessions.ended", self.request.user.get_username())
            answer: HttpResponse = super().form_valid(form)
            end_other_sessions(self.request)
        return answer
