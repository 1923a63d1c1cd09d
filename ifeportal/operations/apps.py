"""App configuration of operations, which owns its tables."""

from django.apps import AppConfig
from django.utils.module_loading import import_string

from ifeportal.jobs.sources import WorkSource, register_source
from ifeportal.live.registry import register


class OperationsConfig(AppConfig):
    """Django app with the tables `operations_operation` and `operations_operationqueue`."""

    name = "ifeportal.operations"
    label = "operations"
    verbose_name = "Operations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the topics of the feed and the source of work, whose modules need the models."""
        register(*import_string("ifeportal.operations.notices.TOPICS"))
        register_source(
            WorkSource(
                "operations",
                import_string("ifeportal.operations.admission.due_work.count_due"),
                import_string("ifeportal.operations.admission.due_work.seconds_to_next"),
                import_string("ifeportal.operations.execution.runner.run_due_operations"),
            )
        )
