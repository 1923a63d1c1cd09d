"""An environment like that of a production system, and commands run in it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.portal_forks import run

KEY = "kX9-vR2_mQ7tZ4wB8nL1cF6hJ3pD5sG0yA-eU_iO2rT7xV4bN9qW1"
PRODUCTION = {
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": "ife.example.org",
    "CSRF_TRUSTED_ORIGINS": "https://ife.example.org",
    "DATABASE_URL": "postgres://ife:hunter2hunter2@database/ife",
}
REMOVED_PREFIXES = ("AWS_", "LOADER_", "DJANGO_")
REMOVED_NAMES = (
    "SECRET_KEY",
    "DATABASE_URL",
    "DEBUG",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "REDIS_URL",
    "EMAIL_URL",
    "PORTAL_URL",
)


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py with exactly these settings."""
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(REMOVED_PREFIXES) and name not in REMOVED_NAMES
    }
    return run([sys.executable, "manage.py", *arguments], env=bare | environment)
