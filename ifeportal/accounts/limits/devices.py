"""Devices on which a user has signed in before: a signed cookie, as OWASP's "device cookies".

It does not authenticate. An attack on a user name from many networks slows down the attempts for that name, except
those from a device that knows it.
"""

from __future__ import annotations

import secrets
from typing import Final

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

COOKIE: Final = "ife_device"
SALT: Final = "ifeportal.accounts.limits.devices"
MAX_AGE: Final = 90 * 86_400  # seconds after the last sign-in


def known_device(request: HttpRequest, name: str) -> str | None:
    """Return the id of the device if the user of this name (normalized) has signed in on it."""
    try:
        known, device = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=MAX_AGE)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return str(device) if known == name else None


def remember_device(response: HttpResponseBase, name: str) -> None:
    """Store in the browser that the user of this name (normalized) has signed in on it."""
    response.set_cookie(
        COOKIE,
        signing.dumps([name, secrets.token_urlsafe(16)], salt=SALT),
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
