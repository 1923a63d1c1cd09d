"""The admin site, for staff and managers of airlines, with the sign-in of the portal."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from allauth.account.views import logout as sign_out
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, reverse
from django.utils.decorators import method_decorator

from ifeportal.access import Role
from ifeportal.admin.base import StaffAdmin
from ifeportal.models import Airline


@cache
def portal_site() -> PortalSite:
    """Return the admin site. Cached, because Django asks again while this package registers its models."""
    return PortalSite()


class PortalSite(admin.AdminSite):
    """Django's admin, in which every model admin is restricted and audited, also those of other packages."""

    site_header = "ifeportal admin"
    site_title = "ifeportal"
    index_title = "Administration"

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the user is active staff or manages an airline."""
        user = request.user
        if user.is_authenticated and user.is_active and user.is_staff:
            return True
        return Airline.objects.with_role(user, Role.MANAGER).exists()

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[admin.ModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """Register `admin_class` as a subclass of `StaffAdmin`."""
        base = admin_class or admin.ModelAdmin
        restricted = base if issubclass(base, StaffAdmin) else type(base.__name__, (StaffAdmin, base), {})
        super().register(model_or_iterable, restricted, **options)

    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseRedirect:
        """Redirect to the sign-in page. Raises PermissionDenied for a signed-in user without access."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.GET.get("next", reverse("admin:index")))
        if not self.has_permission(request):
            raise PermissionDenied("The admin is for staff and managers of airlines.")
        return HttpResponseRedirect(reverse("admin:index"))

    def logout(  # type: ignore[override]  # Django returns a page of its own
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Use the portal's sign-out."""
        response: HttpResponseBase = sign_out(request)
        return response

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseRedirect:
        """Redirect to the portal's page."""
        return HttpResponseRedirect(reverse("account_change_password"))

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Leave out the redirect to the page of a row by its id: it reveals rows of other airlines."""
        return [pattern for pattern in super().get_urls() if getattr(pattern, "name", None) != "view_on_site"]
