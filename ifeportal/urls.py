"""Every address of the portal."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from ifeportal import tokenpage

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("ifeportal.account_urls")),
    path("account/tokens/", tokenpage.tokens, name="tokens"),
    path("account/tokens/<int:pk>/revoke/", tokenpage.revoke, name="token-revoke"),
    path("admin/", admin.site.urls),
    path("api/", include("ifeportal.api_urls")),
    path("", include("ifeportal.health")),
    path("", include("fleet.urls")),
]
handler400 = "ifeportal.refusals.bad_request"
handler403 = "ifeportal.refusals.permission_denied"
handler404 = "ifeportal.refusals.not_found"
handler500 = "ifeportal.health.server_error"
