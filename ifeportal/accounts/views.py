"""Account pages that differ from django-allauth's own.

Touches rows of the request's user, through allauth. Every change gets an audit entry.
"""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.account.views import PasswordChangeView
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.views import IndexView
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView, EditWebAuthnView, RemoveWebAuthnView
from allauth.usersessions.models import UserSession
from allauth.usersessions.views import ListUserSessionsView
from django.contrib import messages
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy

from ifeportal import audit
from ifeportal.accounts.second_factor import is_required

ACCOUNT = reverse_lazy("mfa_index")


class AccountView(IndexView):
    """All of it at a glance: password, second factors, recovery codes, open sessions, airlines."""

    template_name = "account/account.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """What the page shows."""
        user = self.request.user
        shown: dict[str, Any] = super().get_context_data(**kwargs) | {
            "sessions": len(UserSession.objects.purge_and_list(user)),
            "memberships": user.memberships.select_related("airline"),
            "demanded": is_required(user),
        }
        return shown


class ChangePasswordView(PasswordChangeView):
    """A new password. Who signs in elsewhere has none to change."""

    success_url = ACCOUNT

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The page, or back to the account."""
        if not (request.user.is_authenticated and request.user.has_usable_password()):
            messages.info(request, "You have no password here: you sign in elsewhere.")
            return redirect(ACCOUNT)
        answer: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return answer


class _AuditedView:
    """A view whose change is kept in the audit log, in its transaction."""

    action = ""
    request: HttpRequest

    def form_valid(self, form: Form) -> HttpResponse:
        """Make the change and keep it."""
        with transaction.atomic():
            answer: HttpResponse = super().form_valid(form)  # type: ignore[misc]  # of the view it is mixed into
            audit.record(audit.Actor.of(self.request), self.action, self.request.user.get_username())
        return answer


class _FirstUseView(_AuditedView):
    """Setting up a second factor proves it as well as using it."""

    def form_valid(self, form: Form) -> HttpResponse:
        """Make the change; from now on this session is one with a second factor."""
        answer = super().form_valid(form)
        record_authentication(self.request, self.request.user, "mfa", reauthenticated=True)
        return answer


class AddAppView(_FirstUseView, ActivateTOTPView):
    """An authenticator app."""

    action = "user.app.added"


class RemoveAppView(_AuditedView, DeactivateTOTPView):
    """Sign in without the app from now on."""

    action = "user.app.removed"


class RenewCodesView(_AuditedView, GenerateRecoveryCodesView):
    """New recovery codes in place of the old."""

    action = "user.codes.renewed"


class AddPasskeyView(_FirstUseView, AddWebAuthnView):
    """A passkey or security key."""

    action = "user.passkey.added"


class RenamePasskeyView(_AuditedView, EditWebAuthnView):
    """Another name for a passkey."""

    action = "user.passkey.renamed"
    success_url = ACCOUNT


class RemovePasskeyView(_AuditedView, RemoveWebAuthnView):
    """One passkey less; not the last second factor of somebody who must have one."""

    action = "user.passkey.removed"
    success_url = ACCOUNT

    def form_valid(self, form: Form) -> HttpResponse:
        """Remove it, or say why not."""
        key: Authenticator = self.get_object()
        if not get_adapter().can_delete_authenticator(key):
            messages.error(self.request, get_adapter().error_messages["cannot_delete_authenticator"])
            return redirect(ACCOUNT)
        return super().form_valid(form)


class SessionListView(ListUserSessionsView):
    """Where the user is signed in; and to end all sessions but this."""

    success_url = ACCOUNT

    def form_valid(self, form: Form) -> HttpResponse:
        """End the others, if there are any."""
        others = UserSession.objects.filter(user=self.request.user).exclude(
            session_key=self.request.session.session_key
        )
        with transaction.atomic():
            if others.exists():
                audit.record(audit.Actor.of(self.request), "user.sessions.ended", self.request.user.get_username())
            answer: HttpResponse = super().form_valid(form)
        return answer
