"""URLs of the activity page."""

from django.urls import path

from ifeportal.operations.pages import views

urlpatterns = [
    path("activity/", views.activity, name="activity"),
    path("activity/<uuid:uuid>/cancel/", views.cancel, name="operation-cancel"),
    path("activity/<uuid:uuid>/retry/", views.retry, name="operation-retry"),
]
