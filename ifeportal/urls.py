"""All addresses of the portal."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from ifeportal.accounts import token_views

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("ifeportal.accounts.urls")),
    path("account/tokens/", token_views.token_list, name="tokens"),
    path("account/tokens/<int:pk>/revoke/", token_views.revoke, name="token-revoke"),
    path("admin/", admin.site.urls),
    path("api/", include("ifeportal.api.urls")),
    path("", include("ifeportal.web.health")),
    path("", include("fleet.pages.urls")),
]
handler400 = "ifeportal.web.errors.bad_request"
handler403 = "ifeportal.web.errors.permission_denied"
handler404 = "ifeportal.web.errors.not_found"
handler500 = "ifeportal.web.errors.server_error"
