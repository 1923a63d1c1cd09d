"""URLs of the uploads page."""

from django.urls import path

from campaigns.uploads.pages import views

urlpatterns = [
    path("uploads/", views.uploads, name="uploads"),
    path("uploads/from-url/", views.from_url, name="upload-from-url"),
    path("uploads/<uuid:uuid>/delete/", views.delete, name="upload-delete"),
    path("uploads/<uuid:uuid>/retry/", views.retry, name="upload-retry"),
]
