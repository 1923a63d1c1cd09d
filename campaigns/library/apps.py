"""App configuration of the package, which owns its tables."""

from django.apps import AppConfig


class LibraryConfig(AppConfig):
    """Django app with the tables `library_*`."""

    name = "campaigns.library"
    label = "library"
    verbose_name = "Library"
    default_auto_field = "django.db.models.BigAutoField"
