"""Every address of the portal."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from ifeportal.accounts import token_views

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("ifeportal.accounts.urls")),
    path("account/tokens/", token_views.tokens, name="tokens"),
    path("account/tokens/<int:pk>/revoke/", token_views.revoke, name="token-revoke"),
    path("admin/", admin.site.urls),
    path("api/", include("ifeportal.api_urls")),
    path("", include("ifeportal.health")),
    path("", include("fleet.urls")),
]
handler400 = "ifeportal.refusals.bad_request"
handler403 = "ifeportal.refusals.permission_denied"
handler404 = "ifeportal.refusals.not_found"
handler500 = "ifeportal.health.server_error"
