"""App configuration of the package, which owns its tables."""

from django.apps import AppConfig
from django.utils.module_loading import import_string


class LibraryConfig(AppConfig):
    """Django app with the tables `library_*`."""

    name = "campaigns.library"
    label = "library"
    verbose_name = "Library"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the kind of operations. Its module needs the models, so it can't be imported earlier."""
        import_string("ifeportal.operations.kinds.register")(import_string("campaigns.library.copying.KIND"))
