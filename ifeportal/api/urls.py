"""The addresses below `/api/`: the root, the schema and its pages; the apps above add their lists by name."""

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import SimpleRouter

from ifeportal.api.audit import Audit
from ifeportal.api.changes import Changes
from ifeportal.api.root import ApiRoot, Docs, Unknown

router = SimpleRouter()
router.register("audit", Audit, basename="api-audit")
urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", ApiRoot.as_view(), name="api-root"),
    path("v1/changes/", Changes.as_view(), name="api-changes"),
    path("v1/", include(router.urls)),
    path("v1/", include("campaigns.api_urls")),
    path("v1/", include("fleet.api.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", Docs.as_view(), name="docs"),
    re_path("^(.*/)$", Unknown.as_view(), name="api-unknown"),  # last; without the slash Django adds it
]
