"""Addresses below `/api/`: root, schema and documentation, and the routers of all apps."""

from typing import Final

from django.urls import URLPattern, URLResolver, include, path, re_path
from django.utils.module_loading import import_string
from drf_spectacular.views import SpectacularAPIView

from ifeportal.api.audit import AuditViewSet
from ifeportal.api.changes import ChangesView
from ifeportal.api.operations.viewset import OperationViewSet
from ifeportal.api.root import ApiRootView, DocsView, NotFoundView
from ifeportal.api.routers import EndpointRouter, url_names

APP_ROUTERS: Final = (
    "campaigns.api_urls.router",
    "fleet.api.urls.router",
)  # apps above this layer

router = EndpointRouter()
router.register_view("changes", ChangesView)
router.register_list("audit", AuditViewSet)
router.register_list("operations", OperationViewSet)
routers: list[EndpointRouter] = [router, *map(import_string, APP_ROUTERS)]
urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", ApiRootView.as_view(url_names=url_names(routers)), name="api-root"),
    *(path("v1/", include(one.urls)) for one in routers),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
    re_path("^(.*/)$", NotFoundView.as_view(), name="api-unknown"),  # last; without the slash Django adds it
]
