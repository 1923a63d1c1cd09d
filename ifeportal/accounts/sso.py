"""Single sign-on with OpenID Connect: a user signs in with the e-mail address that the service verified.

The first sign-in connects the user to the subject (`sub`) of the service; from then on `sub` identifies the user.
Sign-in never grants staff rights. It creates users, without airlines, only with OIDC_CREATES_USERS. Touches users and
their connections.
"""

from __future__ import annotations

import logging
import os
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
from loader.s3.http.failures import SIGN_IN_SERVICE, library_failure
from loader.s3.http.proxies import proxy_for

logger = logging.getLogger(__name__)

NOT_VERIFIED = "Your e-mail address is not verified there. Verify it, then try again."
UNKNOWN_EMAIL = "No user of this portal has your e-mail address. Ask operations to create one."
AMBIGUOUS_EMAIL = "More than one user of this portal has your e-mail address. Ask operations to correct this."
ALREADY_CONNECTED = "Your user is already connected to another account there. Ask operations to remove that connection."
NO_MANUAL_CONNECTION = "Accounts are connected by e-mail address only. Sign out, then sign in with single sign-on."


class SignInRefused(Exception):
    """The user may not sign in, although the service authenticated them. `str()` is the sentence shown to them."""


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Connects accounts of the service to users, or refuses the sign-in."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Connect the account to its user at the first sign-in. Raises ImmediateHttpResponse if refused."""
        try:
            if sociallogin.state.get("process") != "login":
                raise SignInRefused(NO_MANUAL_CONNECTION)
            if not sociallogin.is_existing:
                with transaction.atomic():
                    sociallogin.connect(request, user_for(sociallogin))
        except SignInRefused as refused:
            context = {"service": sociallogin.account.get_provider().name, "reason": str(refused)}
            page = render(request, "socialaccount/refused.html", context, status=403)
            raise ImmediateHttpResponse(page) from refused


def user_for(sociallogin: SocialLogin) -> User:
    """Return the active user whose e-mail address the service verified. Raises SignInRefused."""
    address = verified_email(sociallogin)
    # The database folds case by other rules than Python: a dotless i equals an i there.
    users = [user for user in User.objects.filter(email__iexact=address) if user.email.lower() == address.lower()]
    if len(users) > 1:
        raise SignInRefused(AMBIGUOUS_EMAIL)
    if not users and settings.OIDC_CREATES_USERS and not User.objects.filter(username__iexact=address).exists():
        return User.objects.create_user(address.lower(), email=address)
    if not users or not users[0].is_active:
        raise SignInRefused(UNKNOWN_EMAIL)
    if SocialAccount.objects.filter(user=users[0], provider=sociallogin.account.provider).exists():
        raise SignInRefused(ALREADY_CONNECTED)
    return users[0]


def verified_email(sociallogin: SocialLogin) -> str:
    """Return the e-mail address that the service verified. Raises SignInRefused."""
    for address in sociallogin.email_addresses:
        # Some services send the string "false", which is truthy.
        if str(address.verified).lower() == "true" and isinstance(address.email, str):
            return address.email.strip()
    raise SignInRefused(NOT_VERIFIED)


class OIDCAdapter(OpenIDConnectOAuth2Adapter):
    """The sign-in service. Claims count only if signed, and only if id_token and userinfo name the same subject."""

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> SocialLogin:
        """Return the login. Raises OAuth2Error if id_token and userinfo do not name the same subject."""
        claims = self._decode_id_token(app, kwargs["response"].get("id_token", ""))
        userinfo = self._fetch_user_info(token.token)
        if not claims.get("sub") or userinfo.get("sub") != claims["sub"]:
            raise OAuth2Error("id_token and userinfo do not name the same subject")
        return self.get_provider().sociallogin_from_response(request, {"userinfo": userinfo, "id_token": claims})

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        """Return the verified claims. allauth would trust the TLS connection and skip the signature."""
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
    """Redirect the browser to the service. Raises Http404 if none is configured."""
    return _run_view(OAuth2LoginView, request, provider_id)


@login_not_required
def callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Handle the browser's return from the service. Raises Http404 if none is configured."""
    return _run_view(OAuth2CallbackView, request, provider_id)


def _run_view(view: Any, request: HttpRequest, provider_id: str) -> HttpResponseBase:
    try:
        response: HttpResponseBase = view.adapter_view(OIDCAdapter(request, provider_id))(request)
    except SocialApp.DoesNotExist as error:
        raise Http404 from error
    except (RequestException, KeyError) as error:  # no response, or one that breaks the standard
        logger.warning("single sign-on: no valid response from the service: %s", _reason(error))
        return render(request, "socialaccount/authentication_error.html", status=502)
    return response


def _reason(error: Exception) -> str:
    """Return why the service did not respond, for the log."""
    return library_failure(error, proxy_for(settings.OIDC_ISSUER, os.environ), SIGN_IN_SERVICE) or repr(error)
