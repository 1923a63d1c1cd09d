"""App configuration of the loader, for its commands."""

from django.apps import AppConfig


class LoaderConfig(AppConfig):
    """Registers the loader with Django for its commands. It has no models."""

    name = "loader"
    verbose_name = "Loader"
    default_auto_field = "django.db.models.BigAutoField"
