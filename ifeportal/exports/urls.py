"""URLs of large exports."""

from django.urls import path

from ifeportal.exports import views

urlpatterns = [
    path("exports/", views.export_list, name="exports"),
    path("exports/<int:pk>/file/", views.download, name="export-file"),
    path("exports/<int:pk>/delete/", views.delete, name="export-delete"),
]
