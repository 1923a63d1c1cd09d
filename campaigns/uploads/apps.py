"""App configuration of the package, which owns its tables."""

from django.apps import AppConfig
from django.utils.module_loading import import_string


class UploadsConfig(AppConfig):
    """Django app with the tables `uploads_*`."""

    name = "campaigns.uploads"
    label = "uploads"
    verbose_name = "Uploads"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the kinds of operations. Their modules need the models, so they can't be imported earlier."""
        kinds = [import_string(f"campaigns.uploads.{module}.KIND") for module in ("operation", "deletion")]
        import_string("ifeportal.operations.kinds.register")(*kinds)
