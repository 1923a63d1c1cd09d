"""The fleet app."""

from django.apps import AppConfig
from django.utils.module_loading import import_string
from prometheus_client import REGISTRY


class FleetConfig(AppConfig):
    """What has arrived."""

    name = "fleet"
    verbose_name = "Fleet"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Offer the fleet's numbers to Prometheus; its module needs the models, so it can't be imported earlier."""
        REGISTRY.register(import_string("fleet.metrics.FleetCollector")())
