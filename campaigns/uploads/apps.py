"""App configuration of the package, which owns its tables."""

from django.apps import AppConfig


class UploadsConfig(AppConfig):
    """Django app with the tables `uploads_*`."""

    name = "campaigns.uploads"
    label = "uploads"
    verbose_name = "Uploads"
    default_auto_field = "django.db.models.BigAutoField"
