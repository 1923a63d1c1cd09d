"""App configuration of operations, which owns its tables."""

from django.apps import AppConfig
from django.utils.module_loading import import_string

from ifeportal.live.registry import register


class OperationsConfig(AppConfig):
    """Django app with the table `operations_operation`."""

    name = "ifeportal.operations"
    label = "operations"
    verbose_name = "Operations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the topics of the feed, whose module needs the models."""
        register(*import_string("ifeportal.operations.notices.TOPICS"))
