"""App configuration of the loader, for its commands."""

from django.apps import AppConfig


class LoaderConfig(AppConfig):
    """Django's handle on the loader: it has commands, no models."""

    name = "loader"
    verbose_name = "Loader"
    default_auto_field = "django.db.models.BigAutoField"
