"""Middleware: refuse values that no text can hold, require sign-in and the second factor, set Permissions-Policy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.db import DataError
from django.http import BadHeaderError, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import urlencode
from django.views.defaults import bad_request

from ifeportal.accounts.hashers import TooManyPasswords
from ifeportal.accounts.second_factor import SecondFactorGap, second_factor_gap
from ifeportal.web.errors import too_many_passwords
from ifeportal.web.problems import API_PREFIX, problem

INVALID_VALUE_ERRORS: Final = (DataError, UnicodeEncodeError, BadHeaderError)
ALWAYS_ALLOWED: Final = {"healthz", "readyz", "account_logout", "admin:logout"}
ALLOWED_TO_VERIFY: Final = ALWAYS_ALLOWED | {"mfa_reauthenticate", "mfa_reauthenticate_webauthn"}
ALLOWED_TO_SET_UP: Final = ALWAYS_ALLOWED | {
    *("mfa_index", "account_reauthenticate", "mfa_activate_totp", "mfa_add_webauthn"),
    *("mfa_view_recovery_codes", "mfa_download_recovery_codes"),
}
PERMISSIONS_POLICY: Final = ", ".join(
    [
        *(f"{name}=()" for name in ("camera", "geolocation", "microphone", "midi", "payment", "serial", "usb")),
        *(f"{name}=(self)" for name in ("publickey-credentials-create", "publickey-credentials-get")),
    ]
)
logger = logging.getLogger(__name__)


class RejectInvalidValues(MiddlewareMixin):
    """A NUL in a path or cookie, or a value the database or a header cannot hold, is the request's fault, not ours.

    PostgreSQL refuses NUL in a text, SQLite does not. A web request only looks up what it is given, so that a DataError
    comes of what it was given.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Forget cookies with a NUL. Raises Http404 for a path with one: no name has it."""
        if "\0" in request.path_info:
            raise Http404
        for name in [name for name, value in request.COOKIES.items() if "\0" in value]:
            del request.COOKIES[name]

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """400 for a value that cannot be looked up."""
        if not isinstance(exception, INVALID_VALUE_ERRORS):
            return None
        logger.warning("a request held a value that cannot be used: %s: %s", request.path, exception)
        if request.path.startswith(API_PREFIX):
            return problem(400, "A value holds what no text can hold.", request.path, kind="bad-value")
        return bad_request(request, exception)


class PasswordsLimited(MiddlewareMixin):
    """A request whose password could not be hashed in time is told when to come again."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """503 for TooManyPasswords."""
        if not isinstance(exception, TooManyPasswords):
            return None
        logger.warning("too many passwords to hash at the same time: %s", request.path)
        return too_many_passwords(request)


class SignInRequired(LoginRequiredMiddleware):
    """Django's own asks who the user is even for an open view: with a cookie a query; /healthz makes none."""

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[Any, ...],
        view_kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        """Nothing for an open view; else Django's answer: None, or the way to the sign-in page."""
        if not getattr(view_func, "login_required", True):
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)


class SecondFactorRequired(MiddlewareMixin):
    """Lets a user whose role demands a second factor do nothing before they have one and have used it."""

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[Any, ...],
        view_kwargs: dict[str, Any],
    ) -> HttpResponse | None:
        """None where nothing is missing; else the way to the page that mends it, or for a program a 403."""
        name = request.resolver_match.view_name if request.resolver_match else ""
        if not settings.SECOND_FACTOR_FOR or name in ALWAYS_ALLOWED or not request.user.is_authenticated:
            return None
        missing = second_factor_gap(request.user, request.session)
        if missing is None or name in (
            ALLOWED_TO_SET_UP if missing is SecondFactorGap.NONE_SET_UP else ALLOWED_TO_VERIFY
        ):
            return None
        if request.path.startswith(API_PREFIX):
            return problem(403, missing.value, request.path)
        if missing is SecondFactorGap.NONE_SET_UP:
            messages.warning(request, missing.value)
            return redirect("mfa_index")
        ways = get_adapter().get_reauthentication_methods(request.user)
        address = next(way["url"] for way in ways if way["id"].startswith("mfa"))  # not the password again
        return redirect(f"{address}?{urlencode({'next': request.get_full_path()})}")


class PermissionsPolicy(MiddlewareMixin):
    """No page needs camera, place or payment; passkeys are for our own pages alone."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The answer with the header."""
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response
