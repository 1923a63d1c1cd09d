"""Configuration of the campaigns app."""

from django.apps import AppConfig
from django.utils.module_loading import import_string


class CampaignsConfig(AppConfig):
    """The campaigns app."""

    name = "campaigns"
    verbose_name = "Campaigns"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the kinds of operations on drafts. The modules need the models."""
        register = import_string("ifeportal.operations.kinds.register")
        register(*import_string("campaigns.drafts.operations.KINDS"))
