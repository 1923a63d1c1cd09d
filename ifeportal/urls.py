"""Every address of the portal."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", LoginView.as_view(redirect_authenticated_user=False), name="login"),
    path("logout/", LogoutView.as_view(next_page="login"), name="logout"),
    path("admin/", admin.site.urls),
    path("api/", include("ifeportal.api_urls")),
    path("", include("ifeportal.health")),
    path("", include("fleet.urls")),
]
handler400 = "ifeportal.refusals.bad_request"
handler403 = "ifeportal.refusals.permission_denied"
handler404 = "ifeportal.refusals.not_found"
handler500 = "ifeportal.health.server_error"
