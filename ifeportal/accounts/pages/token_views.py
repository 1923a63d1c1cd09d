"""Page of a user's API tokens: create (after the user confirmed their identity), list, revoke."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from allauth.account import app_settings as account_settings
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.reauthentication import did_recently_reauthenticate, get_reauthentication_flows
from allauth.core.exceptions import ReauthenticationRequired
from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.dateformat import format as date_format
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from ifeportal import audit
from ifeportal.accounts.second_factor import was_used
from ifeportal.accounts.tokens import TOKENS_PER_USER, create_token
from ifeportal.models import Airline, Token, User

MAX_DAYS: Final = 365
DEFAULT_DAYS: Final = 90
SIGN_IN_AGAIN: Final = "You signed in too long ago to create a token. Sign out, sign in again, then create it."


class TokenForm(forms.Form):
    """Name, airline, access and lifetime of a new token."""

    name = forms.CharField(max_length=100, help_text="What the token is for.")
    airline = forms.ModelChoiceField(
        Airline.objects.none(), required=False, empty_label="All my airlines", label="Airline"
    )
    access = forms.ChoiceField(
        choices=[("read", "Read only"), ("write", "Read and write")], initial="read", label="Access"
    )
    days = forms.IntegerField(
        min_value=1,
        max_value=MAX_DAYS,
        initial=DEFAULT_DAYS,
        label="Expires after (days)",
        help_text=f"1 to {MAX_DAYS}.",
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        airline = self.fields["airline"]
        assert isinstance(airline, forms.ModelChoiceField)
        airline.queryset = Airline.objects.visible_to(user)

    def clean_name(self) -> str:
        """Return the name. Raises ValidationError if another token of the user has it."""
        name: str = self.cleaned_data["name"]
        if Token.objects.owned_by(self.user).filter(name=name).exists():
            raise forms.ValidationError("You already have a token with this name. Revoke it or choose another name.")
        return name

    def clean(self) -> dict[str, Any]:
        """Raises ValidationError for a user who has TOKENS_PER_USER tokens."""
        if Token.objects.owned_by(self.user).count() >= TOKENS_PER_USER:
            raise forms.ValidationError(f"You already have {TOKENS_PER_USER} tokens, the limit. Revoke one first.")
        return self.cleaned_data


@dataclass(frozen=True)
class TokenRow:
    """A token as the list shows it: what it allows, and its dates (UTC)."""

    token: Token
    access: str
    dates: str
    ended: str

    @classmethod
    def of(cls, token: Token, now: datetime) -> Self:
        has_expired = token.expiry <= now
        valid_from = token.user.tokens_valid_from
        is_suspended = valid_from is not None and token.created <= valid_from
        expiry = f"{'expired' if has_expired else 'expires'} {date_format(token.expiry, 'j M Y, H:i')}"
        return cls(
            token,
            access=f"{'Read and write' if token.may_write else 'Read only'}, {token.airline or 'all your airlines'}",
            dates=f"Created {date_format(token.created, 'j M Y')}, {expiry}",
            ended="expired" if has_expired else "ended by a new password or second factor" if is_suspended else "",
        )


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def token_list(request: HttpRequest) -> HttpResponse:
    """Show the user's tokens and the form that creates one; show the key once, in the response that creates it."""
    assert isinstance(request.user, User)
    if request.method == "POST" and not _has_confirmed(request):
        if get_reauthentication_flows(request.user):
            raise ReauthenticationRequired
        messages.warning(request, SIGN_IN_AGAIN)
        return redirect("tokens")
    form, key = _create_from_form(request, request.user) if request.method == "POST" else (TokenForm(request.user), "")
    now = timezone.now()
    tokens = Token.objects.owned_by(request.user).select_related("airline", "user")
    context = {
        "form": TokenForm(request.user) if key else form,
        "key": key,
        "rows": [TokenRow.of(token, now) for token in tokens],
        "now": now,
        "limit": TOKENS_PER_USER,
    }
    return render(request, "account/tokens.html", context, status=201 if key else 400 if form.errors else 200)


def _has_confirmed(request: HttpRequest) -> bool:
    """Return whether the user confirmed their identity recently: a session alone must not create a token.

    A user of single sign-on without a second factor has nothing to confirm with, and must have signed in recently.
    """
    if get_reauthentication_flows(request.user):
        return bool(did_recently_reauthenticate(request))
    records = get_authentication_records(request, request.user)
    newest: float = records[-1]["at"] if records else 0.0
    return bool(time.time() - newest < account_settings.REAUTHENTICATION_TIMEOUT)


@transaction.atomic
def _create_from_form(request: HttpRequest, user: User) -> tuple[TokenForm, str]:
    """Return the form, and the key of the token created from it or "" if the form is not valid."""
    # Serializes the requests of one user: two at once could both pass the check of the name and of the limit.
    User.objects.select_for_update().get(pk=user.pk)
    form = TokenForm(user, request.POST)
    return form, _create_token(request, form) if form.is_valid() else ""


def _create_token(request: HttpRequest, form: TokenForm) -> str:
    given = form.cleaned_data
    token, key = create_token(
        form.user,
        given["name"],
        days=given["days"],
        airline=given["airline"],
        may_write=given["access"] == "write",
        has_second_factor=was_used(form.user, request.session),
    )
    changes = {
        "for": (None, given["airline"] or "every airline"),
        "may": (None, given["access"]),
        "ends": (None, f"{token.expiry:%Y-%m-%d %H:%M} UTC"),
    }
    audit.record(audit.Actor.of(request), "token.made", str(token), airline=given["airline"], changes=changes)
    return key


@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    assert isinstance(request.user, User)
    token = get_object_or_404(Token.objects.owned_by(request.user).select_related("airline"), pk=pk)
    with transaction.atomic():
        audit.record(audit.Actor.of(request), "token.revoked", str(token), airline=token.airline)
        token.delete()
    messages.success(request, f"Token “{token.name}” revoked.")
    return redirect("tokens")
