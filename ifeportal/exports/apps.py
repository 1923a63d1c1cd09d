"""App configuration of exports, which owns its tables."""

from django.apps import AppConfig


class ExportsConfig(AppConfig):
    """Django app with the tables `exports_export` and `exports_exportpart`."""

    name = "ifeportal.exports"
    label = "exports"
    verbose_name = "Exports"
    default_auto_field = "django.db.models.BigAutoField"
