"""Configuration of the campaigns app."""

from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    """The campaigns app."""

    name = "campaigns"
    verbose_name = "Campaigns"
    default_auto_field = "django.db.models.BigAutoField"
