"""The admin site, for staff and managers of airlines, with the sign-in of the portal.

Its first page is by task (`ifeportal.admin.overview`). Models without a task are on the System page, in groups; a newly
registered one appears there by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from allauth.account.views import logout as sign_out
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator

from ifeportal.admin.base import StaffAdmin, manages_an_airline
from ifeportal.admin.overview import sections

TASKS: Final = ("Campaigns", "People", "Airlines", "Jobs")  # of the navigation; a task's first model is its main list
GROUPS: Final = {
    "Observed data": "What the poller read in the buckets, and figures made from it. People do not change it.",
    "Sign-in and access": "Groups, API tokens, second factors, and attempts to sign in.",
    "Records": "The record of every change, and the feed that keeps open pages current.",
    "Background work": "Messages to workers that failed. The page Jobs has the work itself.",
}
SYSTEM: Final = "System"
OTHER_TABLES: Final = "Other tables of this part of the portal."


@dataclass(frozen=True, slots=True)
class NavigationLink:
    """A link of the admin's navigation. `current`: its `aria-current`, empty on other pages."""

    title: str
    address: str
    current: str = ""


@dataclass(frozen=True, slots=True)
class CurrentTask:
    """The part of the admin that a page belongs to. `is_main`: the page shows rows of the part's main list."""

    title: str
    address: str
    is_main: bool


@dataclass(frozen=True, slots=True)
class SystemModel:
    """A list of rows on the System page."""

    title: str
    address: str
    about: str


@dataclass(frozen=True, slots=True)
class SystemGroup:
    """A group of the System page: its title and the admin lists in it."""

    title: str
    about: str
    models: Sequence[SystemModel]


@cache
def portal_site() -> PortalSite:
    """Return the admin site. Cached, because Django asks again while this package registers its models."""
    return PortalSite()


class PortalSite(admin.AdminSite):
    """Django's admin, in which every model admin is restricted and audited, also those of other packages."""

    site_header = "ifeportal admin"
    site_title = "ifeportal"
    index_title = "Admin"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the user is active staff or manages an airline."""
        user = request.user
        if user.is_authenticated and user.is_active and user.is_staff:
            return True
        return manages_an_airline(request)

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
        urls = [pattern for pattern in super().get_urls() if getattr(pattern, "name", None) != "view_on_site"]
        return [path("system/", self.admin_view(self.system), name="system"), *urls]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show what there is to do, by task."""
        return super().index(request, {"sections": sections(request), **(extra_context or {})})

    def system(self, request: HttpRequest) -> TemplateResponse:
        """Show the lists that belong to no task, in groups."""
        context = {**self.each_context(request), "title": SYSTEM}
        context["groups"] = self._system_groups(context["available_apps"])
        return TemplateResponse(request, "admin/system.html", context)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add the navigation, and the part of it that the page belongs to."""
        context = super().each_context(request)
        apps, model = context["available_apps"], self._model_of(request)
        task = self._current_task(apps, model)
        context["admin_links"] = list(self._navigation(request, apps, task))
        context["admin_task"] = task
        return context

    def _model_of(self, request: HttpRequest) -> type[Model] | None:
        """Return the model that the page shows rows of."""
        route = request.resolver_match.route if request.resolver_match is not None else ""
        return next((model for model in self._registry if f"/{_address_of(model)}/" in f"/{route}"), None)

    def _task_of(self, model: type[Model]) -> str:
        its = self._registry[model]
        return its.task if isinstance(its, StaffAdmin) else ""

    def _main_lists(self, apps: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the first list of each task, for the lists that the user may open."""
        found: dict[str, dict[str, Any]] = {}
        for model in _models_of(apps):
            its = self._registry[model["model"]]
            if isinstance(its, StaffAdmin) and its.task and model["admin_url"]:
                found[its.task] = model if its.is_main_list else found.get(its.task, model)
        return {task: found[task] for task in TASKS if task in found}

    def _current_task(self, apps: Sequence[dict[str, Any]], model: type[Model] | None) -> CurrentTask | None:
        if model is None:
            return None
        title, main = self._task_of(model), self._main_lists(apps)
        if title not in main:
            return CurrentTask(SYSTEM, reverse("admin:system"), is_main=False)
        return CurrentTask(title, main[title]["admin_url"], is_main=main[title]["model"] is model)

    def _navigation(
        self, request: HttpRequest, apps: Sequence[dict[str, Any]], task: CurrentTask | None
    ) -> Iterable[NavigationLink]:
        pages = [("Overview", reverse("admin:index"))]
        pages += [(title, model["admin_url"]) for title, model in self._main_lists(apps).items()]
        if self._system_groups(apps):
            pages.append((SYSTEM, reverse("admin:system")))
        for title, address in pages:
            within = task is not None and task.title == title
            yield NavigationLink(title, address, "page" if request.path == address else "true" if within else "")

    def _system_groups(self, apps: Sequence[dict[str, Any]]) -> list[SystemGroup]:
        """Return the lists without a task that the user may open: groups in order, then those of other apps."""
        found: dict[str, list[SystemModel]] = {title: [] for title in GROUPS}
        for app in apps:
            for model in app["models"]:
                its = self._registry[model["model"]]
                if isinstance(its, StaffAdmin) and not its.task and model["admin_url"]:
                    row = SystemModel(str(model["name"]), model["admin_url"], its.about)
                    found.setdefault(its.group or str(app["name"]), []).append(row)
        return [SystemGroup(title, GROUPS.get(title, OTHER_TABLES), rows) for title, rows in found.items() if rows]


def _address_of(model: type[Model]) -> str:
    return f"{model._meta.app_label}/{model._meta.model_name}"


def _models_of(apps: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return (model for app in apps for model in app["models"])
