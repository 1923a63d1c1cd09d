"""What every request passes: values no text can hold are refused; signing in is needed unless a view says otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.db import DataError
from django.http import BadHeaderError, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from django.views.defaults import bad_request

from ifeportal.problems import BELOW, problem

BAD_VALUES: Final = (DataError, UnicodeEncodeError, BadHeaderError)
logger = logging.getLogger(__name__)


class HostileValues(MiddlewareMixin):
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
        if not isinstance(exception, BAD_VALUES):
            return None
        logger.warning("a request held a value that cannot be used: %s: %s", request.path, exception)
        if request.path.startswith(BELOW):
            return problem(400, "A value holds what no text can hold.", request.path, kind="bad-value")
        return bad_request(request, exception)


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
