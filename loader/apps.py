"""The loader app."""

from django.apps import AppConfig


class LoaderConfig(AppConfig):
    name = "loader"
    verbose_name = "Loader"
    default_auto_field = "django.db.models.BigAutoField"
