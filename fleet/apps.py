"""The fleet app."""

from django.apps import AppConfig
from django.utils.module_loading import import_string
from prometheus_client import REGISTRY

from ifeportal.live.registry import register


class FleetConfig(AppConfig):
    """Tails, loads and transfers, as the aircraft report them."""

    name = "fleet"
    verbose_name = "Fleet"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the topics of the feed and the Prometheus collector.

        Their modules need the models, so they can't be imported earlier.
        """
        register(*import_string("fleet.feed.TOPICS"))
        REGISTRY.register(import_string("fleet.metrics.FleetCollector")())
