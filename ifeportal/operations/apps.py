"""App configuration of operations, which owns its tables."""

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    """Django app with the table `operations_operation`."""

    name = "ifeportal.operations"
    label = "operations"
    verbose_name = "Operations"
    default_auto_field = "django.db.models.BigAutoField"
