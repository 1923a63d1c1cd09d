"""Root URLconf of the portal, and its error handlers."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("ifeportal.accounts.pages.urls")),
    path("admin/", admin.site.urls),
    path("api/", include("ifeportal.api.urls")),
    path("", include("ifeportal.web.health")),
    path("", include("ifeportal.web.install")),
    path("", include("ifeportal.exports.urls")),
    path("", include("ifeportal.operations.pages.urls")),
    path("", include("campaigns.uploads.pages.urls")),
    path("", include("campaigns.library.pages.urls")),
    path("", include("fleet.pages.urls")),
]
handler400 = "ifeportal.web.errors.bad_request"
handler403 = "ifeportal.web.errors.permission_denied"
handler404 = "ifeportal.web.errors.not_found"
handler500 = "ifeportal.web.errors.server_error"
