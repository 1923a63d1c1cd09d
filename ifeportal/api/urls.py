"""Addresses below `/api/`: root, schema, documentation; the apps above add their lists by name."""

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import SimpleRouter

from ifeportal.api.audit import AuditViewSet
from ifeportal.api.changes import ChangesView
from ifeportal.api.root import ApiRootView, DocsView, NotFoundView

router = SimpleRouter()
router.register("audit", AuditViewSet, basename="api-audit")
urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", ApiRootView.as_view(), name="api-root"),
    path("v1/changes/", ChangesView.as_view(), name="api-changes"),
    path("v1/", include(router.urls)),
    path("v1/", include("campaigns.api_urls")),
    path("v1/", include("fleet.api.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
    re_path("^(.*/)$", NotFoundView.as_view(), name="api-unknown"),  # last; without the slash Django adds it
]
