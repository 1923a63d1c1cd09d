"""The portal's own app: users, airlines, jobs."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "ifeportal"
    verbose_name = "Portal"
    default_auto_field = "django.db.models.BigAutoField"
