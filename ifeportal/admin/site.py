"""The admin site: for staff and managers of an airline, with the portal's own sign-in."""

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
    """Return the portal's one admin site. Django asks for it again while this package registers its models."""
    return PortalSite()


class PortalSite(admin.AdminSite):
    """Django's admin, in which everything registered is guarded and audited, also what other packages bring."""

    site_header = "ifeportal admin"
    site_title = "ifeportal"
    index_title = "Administration"

    def has_permission(self, request: HttpRequest) -> bool:
        """Active staff, and whoever manages an airline."""
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
        kept = admin_class or admin.ModelAdmin
        guarded = kept if issubclass(kept, StaffAdmin) else type(kept.__name__, (StaffAdmin, kept), {})
        super().register(model_or_iterable, guarded, **options)

    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseRedirect:
        """To the one place where people sign in. Raises PermissionDenied for somebody who has, and may not enter."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.GET.get("next", reverse("admin:index")))
        if not self.has_permission(request):
            raise PermissionDenied("The admin is for staff and for managers of an airline.")
        return HttpResponseRedirect(reverse("admin:index"))

    def logout(  # type: ignore[override]  # Django promises a page of its own
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Where everybody signs out."""
        answer: HttpResponseBase = sign_out(request)
        return answer

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseRedirect:
        """To where everybody changes their password."""
        return HttpResponseRedirect(reverse("account_change_password"))

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Django's, but for the redirect to any row's page by its id: it would tell of foreign ones."""
        return [address for address in super().get_urls() if getattr(address, "name", None) != "view_on_site"]
