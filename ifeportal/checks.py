"""System checks for `manage.py check --deploy`. Each has an id and a hint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register


@register(Tags.staticfiles, deploy=True)
def static_files_are_collected(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if collectstatic was not run: without its manifest every page fails."""
    return _warn_unless(
        settings.DEBUG or (Path(settings.STATIC_ROOT) / "staticfiles.json").exists(),
        f"No static files are collected in {settings.STATIC_ROOT}.",
        hint="Run: python manage.py collectstatic --noinput",
        id="ifeportal.W001",
    )


@register(Tags.database, deploy=True)
def database_is_not_sqlite(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn about SQLite, which works on one machine and with one writer at a time."""
    return _warn_unless(
        settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3",
        "The database is SQLite, which supports one machine and one writer at a time.",
        hint="Use PostgreSQL: set DATABASE_URL=postgres://user:password@host/name",
        id="ifeportal.W002",
    )


@register(Tags.security, deploy=True)
def second_factor_is_required(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if no user must have a second factor: then one stolen password is enough."""
    return _warn_unless(
        settings.SECOND_FACTOR_FOR,
        "SECOND_FACTOR_FOR is not set: every user may sign in with a password alone.",
        hint="Set SECOND_FACTOR_FOR=staff,manager,operator, or more.",
        id="ifeportal.W003",
    )


@register(Tags.security, deploy=True)
def mail_server_is_set(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if no e-mail can be sent."""
    return _warn_unless(
        settings.PASSWORD_RESET_BY_EMAIL,
        "EMAIL_URL is not set: no e-mail is sent, and users cannot reset a forgotten password.",
        hint="Set EMAIL_URL=smtp+tls://user:password@host:587 and PORTAL_URL.",
        id="ifeportal.W004",
    )


@register(Tags.security, deploy=True)
def proxy_is_trusted(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if HTTPS is on without a proxy that ends TLS: daphne would redirect each of the proxy's requests."""
    return _warn_unless(
        settings.BEHIND_PROXY or not settings.HTTPS,
        "HTTPS is on and BEHIND_PROXY is off: behind a proxy, every page redirects to itself, and all clients "
        "share one address in limits and in the audit log.",
        hint="Set BEHIND_PROXY=1 behind your own proxy. Nothing is wrong if daphne itself ends TLS.",
        id="ifeportal.W005",
    )


def _warn_unless(holds: object, message: str, *, hint: str, id: str) -> list[CheckMessage]:
    return [] if holds else [Warning(message, hint=hint, id=id)]
