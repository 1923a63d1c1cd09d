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
    if settings.DEBUG or (Path(settings.STATIC_ROOT) / "staticfiles.json").exists():
        return []
    return [
        Warning(
            f"No static files are collected in {settings.STATIC_ROOT}.",
            hint="Run: python manage.py collectstatic --noinput",
            id="ifeportal.W001",
        )
    ]


@register(Tags.database, deploy=True)
def database_is_not_sqlite(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn about SQLite, which works on one machine and with one writer at a time."""
    if settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3":
        return []
    return [
        Warning(
            "The database is SQLite, which supports one machine and one writer at a time.",
            hint="Use PostgreSQL: set DATABASE_URL=postgres://user:password@host/name",
            id="ifeportal.W002",
        )
    ]
