"""Middleware: refuse unusable values and hosts, bound work, require sign-in and the second factor, set headers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, cast

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.db import DataError, connections
from django.http import (
    BadHeaderError,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponsePermanentRedirect,
)
from django.middleware.common import CommonMiddleware
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import urlencode
from django.views.defaults import bad_request

from ifeportal.accounts.hashers import TooManyPasswords
from ifeportal.accounts.second_factor import SecondFactorGap, second_factor_gap
from ifeportal.models import User
from ifeportal.web.database_limits import CONNECTION_KEY, is_cancelled_query
from ifeportal.web.errors import query_timed_out, too_many_passwords
from ifeportal.web.problems import API_PREFIX, problem
from ifeportal.web.user_limits import USER_KEY, AuthenticatedBy

DEBUGGING_METHODS: Final = ("TRACE", "TRACK", "CONNECT")
INVALID_VALUE_ERRORS: Final = (DataError, UnicodeEncodeError, BadHeaderError)
ALWAYS_ALLOWED: Final = {"healthz", "readyz", "account_logout", "admin:logout"}
ALLOWED_TO_VERIFY: Final = ALWAYS_ALLOWED | {"mfa_reauthenticate", "mfa_reauthenticate_webauthn"}
ALLOWED_TO_SET_UP: Final = ALWAYS_ALLOWED | {
    *("mfa_index", "account_reauthenticate", "mfa_activate_totp", "mfa_add_webauthn"),
    *("mfa_view_recovery_codes", "mfa_download_recovery_codes"),
}
HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
PERMISSIONS_POLICY: Final = ", ".join(
    [
        *(f"{name}=()" for name in ("camera", "geolocation", "microphone", "midi", "payment", "serial", "usb")),
        *(f"{name}=(self)" for name in ("publickey-credentials-create", "publickey-credentials-get")),
    ]
)
logger = logging.getLogger(__name__)


class RejectInvalidValues(MiddlewareMixin):
    """Treat TRACE, a NUL in a path or cookie, and a value that cannot be stored, as a client error.

    PostgreSQL refuses NUL in text, SQLite does not. Web requests look up the values that they contain, so a DataError
    is caused by the request.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Drop cookies with a NUL. Raises Http404 for a path with a NUL, which no name contains."""
        if request.method in DEBUGGING_METHODS:
            return HttpResponseNotAllowed(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
        if "\0" in request.path_info:
            raise Http404
        for name in [name for name, value in request.COOKIES.items() if "\0" in value]:
            del request.COOKIES[name]
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, INVALID_VALUE_ERRORS):
            return None
        logger.warning("request with an unusable value: %s: %s", request.path, exception)
        if request.path.startswith(API_PREFIX):
            return problem(400, "A value contains a character that is not allowed.", request.path, kind="bad-value")
        return bad_request(request, exception)


class CommonExceptHealth(CommonMiddleware):
    """Django's middleware, without its check of the Host header for the health pages.

    Load balancers and kubelets request them by the address of the machine, which ALLOWED_HOSTS cannot list.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path_info in HEALTH_PATHS else super().process_request(request)


class PasswordsLimited(MiddlewareMixin):
    """Respond with 503 and Retry-After if the password of a request was not checked in time."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, TooManyPasswords):
            return None
        logger.warning("too many passwords to hash at the same time: %s", request.path)
        return too_many_passwords(request)


class QueriesLimited(MiddlewareMixin):
    """Tell the ASGI middleware which connection and user a request has; respond with 503 to a cancelled query."""

    def process_request(self, request: HttpRequest) -> None:
        """Publish the connection of this thread, so that a query is cancelled if the client leaves."""
        if isinstance(request, ASGIRequest):
            _scope_of(request)[CONNECTION_KEY] = connections["default"]

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Publish the user, if this request loaded one."""
        if isinstance(request, ASGIRequest) and (found := _loaded_user(request)) is not None:
            _scope_of(request)[USER_KEY] = found
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not is_cancelled_query(exception):
            return None
        logger.warning("a query was cancelled: %s: %s", request.path, exception)
        return query_timed_out(request.path)


def _scope_of(request: ASGIRequest) -> dict[str, Any]:
    """Return the scope, which the ASGI middleware of this request shares."""
    scope: Any = request.scope
    return cast("dict[str, Any]", scope)


def _loaded_user(request: HttpRequest) -> AuthenticatedBy | None:
    """Return the user of the request without a query: None if nothing has loaded it."""
    if getattr(request, "auth", None) is not None:  # REST framework copies both here
        return AuthenticatedBy(cast(User, request.user).pk, by_token=True)
    user = getattr(request, "_cached_user", None)
    return AuthenticatedBy(user.pk, by_token=False) if user is not None and user.is_authenticated else None


class DefaultCacheControl(MiddlewareMixin):
    """Forbid caching of every response that does not say otherwise: most depend on the user."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response


class SignInRequired(LoginRequiredMiddleware):
    """Django's middleware, except that it does not load the user for a public view: /healthz makes no query."""

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[Any, ...],
        view_kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        """Return None for a public view or a signed-in user, else a redirect to the sign-in page."""
        if not getattr(view_func, "login_required", True):
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)


class SecondFactorRequired(MiddlewareMixin):
    """Block users whose role requires a second factor until they have set one up and used it."""

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[Any, ...],
        view_kwargs: dict[str, Any],
    ) -> HttpResponse | None:
        """Return None if no step is missing; else a redirect to the page of that step, or 403 in the API."""
        name = request.resolver_match.view_name if request.resolver_match else ""
        if not settings.SECOND_FACTOR_FOR or name in ALWAYS_ALLOWED or not request.user.is_authenticated:
            return None
        missing = second_factor_gap(request.user, request.session)
        allowed = ALLOWED_TO_SET_UP if missing is SecondFactorGap.NONE_SET_UP else ALLOWED_TO_VERIFY
        if missing is None or name in allowed:
            return None
        if request.path.startswith(API_PREFIX):
            return problem(403, missing.value, request.path)
        if missing is SecondFactorGap.NONE_SET_UP:
            messages.warning(request, missing.value)
            return redirect("mfa_index")
        methods = get_adapter().get_reauthentication_methods(request.user)
        url = next(method["url"] for method in methods if method["id"].startswith("mfa"))  # not the password again
        return redirect(f"{url}?{urlencode({'next': request.get_full_path()})}")


class PermissionsPolicy(MiddlewareMixin):
    """Deny browser features that no page needs, and allow passkeys on our own pages only."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response
