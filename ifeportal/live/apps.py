"""App configuration of the change feed, which owns its tables."""

from django.apps import AppConfig


class LiveConfig(AppConfig):
    """Django app with the tables `live_counter` and `live_change`."""

    name = "ifeportal.live"
    label = "live"
    verbose_name = "Live updates"
    default_auto_field = "django.db.models.BigAutoField"
