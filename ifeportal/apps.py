"""App configurations of the portal: users, airlines and jobs, and Django's admin with the portal's own site."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin

from ifeportal import checks as checks  # its system checks register themselves on import


class PortalConfig(AppConfig):
    """Users, airlines, memberships, jobs."""

    name = "ifeportal"
    verbose_name = "Portal"
    default_auto_field = "django.db.models.BigAutoField"


class PortalAdminConfig(admin.AdminConfig):
    """Django's admin."""

    default = False  # Django takes the other of the two for `ifeportal`
    # A function, not the class: importing `ifeportal.admin` registers models, which needs the site that is being made.
    default_site = "ifeportal.admin.site.portal_site"
