"""Single sign-on by OpenID Connect: a user signs in with the e-mail address that the service has verified.

The first sign-in connects the user to the service's subject (`sub`); from then on `sub` identifies the user. It never
makes staff, and creates a user, without airlines, only with OIDC_CREATES_USERS. Touches users and their connections.
"""

from __future__ import annotations

import logging
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.internal import jwtkit
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from requests import RequestException

from ifeportal.models import User

logger = logging.getLogger(__name__)

NOT_VERIFIED = "It does not say that your e-mail address is verified. Have it verified there, then try again."
UNKNOWN_EMAIL = "There is no user with your e-mail address here. Ask operations to make one."
AMBIGUOUS_EMAIL = "More than one user has your e-mail address here. Ask operations to give each their own."
ALREADY_CONNECTED = "Your user is connected with another account of it. Ask operations to end that connection."
NO_MANUAL_CONNECTION = "Accounts are connected by e-mail address only. Sign out here, then sign in with it."


class SignInRefused(Exception):
    """Whoever the service vouches for is not let in; `str()` is the sentence for them."""


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Who gets in."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Nobody makes themselves a user."""
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Connect a user who comes for the first time. Raises ImmediateHttpResponse for who is not let in."""
        try:
            if sociallogin.state.get("process") != "login":
                raise SignInRefused(NO_MANUAL_CONNECTION)
            if not sociallogin.is_existing:
                with transaction.atomic():
                    sociallogin.connect(request, user_for(sociallogin))
        except SignInRefused as refused:
            name = sociallogin.account.get_provider().name
            page = render(request, "socialaccount/refused.html", {"service": name, "why": str(refused)}, status=403)
            raise ImmediateHttpResponse(page) from refused


def user_for(sociallogin: SocialLogin) -> User:
    """The active user whose e-mail address the service has verified. Raises SignInRefused."""
    address = verified_email(sociallogin)
    # In the database case is folded by rules that take a dotless i for an i.
    found = [user for user in User.objects.filter(email__iexact=address) if user.email.lower() == address.lower()]
    if len(found) > 1:
        raise SignInRefused(AMBIGUOUS_EMAIL)
    if not found and settings.OIDC_CREATES_USERS and not User.objects.filter(username__iexact=address).exists():
        return User.objects.create_user(address.lower(), email=address)
    if not found or not found[0].is_active:
        raise SignInRefused(UNKNOWN_EMAIL)
    if SocialAccount.objects.filter(user=found[0], provider=sociallogin.account.provider).exists():
        raise SignInRefused(ALREADY_CONNECTED)
    return found[0]


def verified_email(sociallogin: SocialLogin) -> str:
    """The e-mail address the service has verified. Raises SignInRefused; some services write the word "false"."""
    for address in sociallogin.email_addresses:
        if str(address.verified).lower() == "true" and isinstance(address.email, str):
            return address.email.strip()
    raise SignInRefused(NOT_VERIFIED)


class OIDCAdapter(OpenIDConnectOAuth2Adapter):
    """The sign-in service. Its word counts only with its signature, and for one and the same person."""

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> SocialLogin:
        """Whom the service vouches for. Raises OAuth2Error if it does not properly."""
        claims = self._decode_id_token(app, kwargs["response"].get("id_token", ""))
        said = self._fetch_user_info(token.token)
        if not claims.get("sub") or said.get("sub") != claims["sub"]:
            raise OAuth2Error("the id_token and the userinfo are not of one person")
        return self.get_provider().sociallogin_from_response(request, {"userinfo": said, "id_token": claims})

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        """The claims; allauth would trust the connection and skip the signature."""
        claims: dict[str, Any] = jwtkit.verify_and_decode(
            credential=id_token,
            keys_url=self.openid_config["jwks_uri"],
            issuer=self.openid_config["issuer"],
            audience=app.client_id,
            lookup_kid=jwtkit.lookup_kid_jwk,
        )
        return claims


@login_not_required
def start_login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Send the browser to the service. Raises Http404 where there is none."""
    return _run_view(OAuth2LoginView, request, provider_id)


@login_not_required
def callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Take the browser back from the service. Raises Http404 where there is none."""
    return _run_view(OAuth2CallbackView, request, provider_id)


def _run_view(view: Any, request: HttpRequest, provider_id: str) -> HttpResponseBase:
    try:
        answer: HttpResponseBase = view.adapter_view(OIDCAdapter(request, provider_id))(request)
    except SocialApp.DoesNotExist as error:
        raise Http404 from error
    except (RequestException, KeyError) as error:  # it does not answer, or not as the standard says
        logger.warning("single sign-on: the service did not answer as it should: %r", error)
        return render(request, "socialaccount/authentication_error.html", status=502)
    return answer
