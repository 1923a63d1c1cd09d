"""App configuration of sign-in, which owns its tables."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Django app with the tables `accounts_attemptcount` and `accounts_passwordresetrequest`."""

    name = "ifeportal.accounts"
    label = "accounts"
    verbose_name = "Sign-in"
    default_auto_field = "django.db.models.BigAutoField"
