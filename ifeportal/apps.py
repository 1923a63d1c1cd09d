"""The portal's own app: users, airlines, jobs."""

from django.apps import AppConfig

from ifeportal import checks as checks  # its system checks register themselves on import


class PortalConfig(AppConfig):
    """Users, airlines, memberships, jobs."""

    name = "ifeportal"
    verbose_name = "Portal"
    default_auto_field = "django.db.models.BigAutoField"
