"""Adapters for django-allauth: no sign-up, our error messages, an audit entry for every write.

Touches users and authenticators, through allauth.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from qrcode import QRCode
from qrcode.image.svg import SvgPathImage

from ifeportal import audit
from ifeportal.accounts import encryption, second_factor
from ifeportal.accounts.lockout import client_network
from ifeportal.models import User

logger = logging.getLogger(__name__)

TOO_MANY_CODES = "Too many wrong codes. Wait five minutes, then try again."


@dataclass(frozen=True)
class MailSite:
    """What mails call the portal. allauth would take both from the Host header of the request."""

    name: str
    domain: str


class AccountAdapter(DefaultAccountAdapter):
    """Passwords and sessions. django-axes counts wrong passwords, in the database; not allauth, in a cache."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": "This account is disabled. Ask operations if it should not be.",
        "enter_current_password": "That is not your current password. Type it again; large and small letters count.",
        "incorrect_password": "That is not your password. Type it again; large and small letters count.",
        "too_many_login_attempts": TOO_MANY_CODES,
        "rate_limited": TOO_MANY_CODES,
        "username_password_mismatch": "That user name and password do not belong together. "
        "Type both again; in the password, large and small letters count.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody makes themselves a user."""
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Nothing: whoever is locked out is refused by django-axes."""

    def get_client_ip(self, request: HttpRequest) -> str:
        """Where the request comes from; of a socket in a file that is not known."""
        return client_network(request) or "0.0.0.0"  # noqa: S104  # an address that is none, not one to listen on

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Return the link to set a new password, below PORTAL_URL."""
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return f"{settings.PORTAL_URL}{path.replace('UID-KEY', quote(key))}"

    def format_email_subject(self, subject: str) -> str:
        """Return the subject with the name of the portal in front."""
        return f"[{_mail_site().name}] {subject}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send a mail whose text names no host but that of PORTAL_URL."""
        super().send_mail(template_prefix, email, {**context, "current_site": _mail_site()})

    def login(self, request: HttpRequest, user: User) -> None:
        """Begin the session, and keep that it began."""
        with transaction.atomic():
            super().login(request, user)
            audit.record(audit.Actor.of(request), "user.signed-in", user.get_username())

    def logout(self, request: HttpRequest) -> None:
        """End the session, and keep that it ended."""
        with transaction.atomic():
            audit.record(audit.Actor.of(request), "user.signed-out", request.user.get_username())
            super().logout(request)

    def set_password(self, user: User, password: str) -> None:
        """Keep the new password, and that it was changed; every other session of the user ends with it."""
        with transaction.atomic():
            super().set_password(user, password)
            audit.record(audit.Actor.of(context.request), "user.password", user.get_username())


class MFAAdapter(DefaultMFAAdapter):
    """Authenticator apps, passkeys and recovery codes."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "cannot_delete_authenticator": "Your role needs a second factor, and this is your only one. "
        "Add another before you remove it.",
        "incorrect_code": "That did not fit. A code of the app holds for half a minute and counts once, and so does a "
        "recovery code: type the newest one, or try the passkey again.",
    }

    def encrypt(self, text: str) -> str:
        """Return what is stored of a secret."""
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret. Raises Undecipherable, which a form shows."""
        try:
            return encryption.decrypt(encrypted_text)
        except encryption.Undecipherable:
            logger.error("a second factor cannot be decrypted: is the key it was made with in SECRET_KEY_FALLBACKS?")
            raise

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Not the last second factor of somebody who must have one."""
        user = authenticator.user
        others = second_factor.authenticators_of(user).exclude(pk=authenticator.pk)
        return others.exists() or not second_factor.is_required(user)

    def generate_authenticator_name(self, user: User, type: str) -> str:
        """A name to begin with."""
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"

    def build_totp_svg(self, url: str) -> str:
        """The picture an app takes the secret from, to stand in the page."""
        code = QRCode(image_factory=SvgPathImage, border=2)
        code.add_data(url)
        picture: bytes = code.make_image().to_string()
        return picture.decode()


def _mail_site() -> MailSite:
    host = urlsplit(settings.PORTAL_URL).netloc
    return MailSite(name=host, domain=host)
