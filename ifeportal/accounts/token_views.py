"""The page of a user's API tokens: create, list, revoke. The key is shown once, in the response that creates it."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from ifeportal import audit
from ifeportal.accounts.tokens import TOKENS_PER_USER, create_token
from ifeportal.models import Airline, Token, User

MAX_DAYS: Final = 365  # days
DEFAULT_DAYS: Final = 90


class TokenForm(forms.Form):
    """What a new token is for, what it may do, and for how long."""

    name = forms.CharField(max_length=100, help_text="What it is for, so that you know it again.")
    airline = forms.ModelChoiceField(
        Airline.objects.none(), required=False, empty_label="every airline of mine", label="For"
    )
    access = forms.ChoiceField(
        choices=[("read", "read only"), ("write", "read and write")], initial="read", label="May"
    )
    days = forms.IntegerField(
        min_value=1, max_value=MAX_DAYS, initial=DEFAULT_DAYS, label="Ends after days", help_text=f"1 to {MAX_DAYS}."
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        airline = self.fields["airline"]
        assert isinstance(airline, forms.ModelChoiceField)
        airline.queryset = Airline.objects.visible_to(user)

    def clean_name(self) -> str:
        """The name. Raises ValidationError where another token of the user has it."""
        name: str = self.cleaned_data["name"]
        if Token.objects.owned_by(self.user).filter(name=name).exists():
            raise forms.ValidationError("You have a token of that name. Revoke it first, or choose another name.")
        return name

    def clean(self) -> dict[str, Any]:
        """All of it. Raises ValidationError for a user who has too many."""
        if Token.objects.owned_by(self.user).count() >= TOKENS_PER_USER:
            raise forms.ValidationError(
                f"You have {TOKENS_PER_USER} tokens, which is all there may be. Revoke one first."
            )
        return self.cleaned_data


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def token_list(request: HttpRequest) -> HttpResponse:
    """The user's tokens and the form for another; after it, once, the key."""
    assert isinstance(request.user, User)
    form, key = _create_from_form(request, request.user) if request.method == "POST" else (TokenForm(request.user), "")
    rows = Token.objects.owned_by(request.user).select_related("airline")
    context = {
        "form": TokenForm(request.user) if key else form,
        "key": key,
        "rows": rows,
        "now": timezone.now(),
        "most": TOKENS_PER_USER,
    }
    return render(request, "account/tokens.html", context, status=201 if key else 400 if form.errors else 200)


@transaction.atomic
def _create_from_form(request: HttpRequest, user: User) -> tuple[TokenForm, str]:
    """The form, and the key of the token made with it; empty if it was not valid. Two at once come one by one."""
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
    )
    told = {"for": (None, given["airline"] or "every airline"), "may": (None, given["access"])}
    ends = {"ends": (None, f"{token.expiry:%Y-%m-%d %H:%M} UTC")}
    audit.record(audit.Actor.of(request), "token.made", str(token), airline=given["airline"], changes=told | ends)
    return key


@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of the user's tokens, at once and for good."""
    assert isinstance(request.user, User)
    token = get_object_or_404(Token.objects.owned_by(request.user).select_related("airline"), pk=pk)
    with transaction.atomic():
        audit.record(audit.Actor.of(request), "token.revoked", str(token), airline=token.airline)
        token.delete()
    messages.success(request, f"“{token.name}” opens nothing any more.")
    return redirect("tokens")
