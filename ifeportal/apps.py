"""App configurations: the portal itself (users, airlines, jobs), and Django's admin with the portal's site."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin

from ifeportal import checks as checks  # its system checks register themselves on import


class PortalConfig(AppConfig):
    """Users, airlines, memberships, jobs."""

    name = "ifeportal"
    verbose_name = "Portal"
    default_auto_field = "django.db.models.BigAutoField"


class PortalAdminConfig(admin.AdminConfig):
    """Django's admin with the portal's site."""

    default = False  # `PortalConfig` is the default of `ifeportal`
    # A function, not the class: importing `ifeportal.admin` registers models, which needs the site being created.
    default_site = "ifeportal.admin.site.portal_site"
