"""Adapters for django-allauth: no sign-up, our error messages, an audit entry for every write.

Touches users and authenticators, through allauth.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from qrcode import QRCode
from qrcode.image.svg import SvgPathImage

from ifeportal import audit
from ifeportal.accounts import encryption, second_factor
from ifeportal.accounts.hashers import TooManyPasswords
from ifeportal.accounts.limits.devices import remember_device
from ifeportal.accounts.limits.lockout import normalize_username, withdraw
from ifeportal.accounts.limits.networks import client_network
from ifeportal.accounts.sessions.store import SIGNED_IN_AT
from ifeportal.models import User

logger = logging.getLogger(__name__)

TOO_MANY_CODES = "Too many wrong codes. Wait five minutes, then try again."


@dataclass(frozen=True)
class MailSite:
    """Name and host of the portal in e-mails. allauth would take both from the Host header of the request."""

    name: str
    domain: str


class AccountAdapter(DefaultAccountAdapter):
    """Passwords and sessions. Attempts are counted by `lockout` and `attempts` instead of allauth's cache."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": "Your account is disabled. If this is a mistake, ask operations to enable it.",
        "enter_current_password": "Wrong current password. Passwords are case-sensitive.",
        "incorrect_password": "Wrong password. Passwords are case-sensitive.",
        "too_many_login_attempts": TOO_MANY_CODES,
        "rate_limited": TOO_MANY_CODES,
        "username_password_mismatch": "Wrong user name or password. Passwords are case-sensitive.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Do nothing: `lockout` counts the password, and refuses users that are locked out."""

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Return the user of the credentials, or None. A right password, or one that is not checked, does not count.

        Raises TooManyPasswords.
        """
        try:
            user: User | None = super().authenticate(request, **credentials)
        except TooManyPasswords:
            withdraw(request)
            raise
        if user is not None:
            withdraw(request)
        return user

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the network of the client."""
        return client_network(request)

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Return the password reset link, below PORTAL_URL."""
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return f"{settings.PORTAL_URL}{path.replace('UID-KEY', quote(key))}"

    def format_email_subject(self, subject: str) -> str:
        """Return the subject, prefixed with the name of the portal."""
        return f"[{_mail_site().name}] {subject}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send an e-mail that names the host of PORTAL_URL, and no other host. Works without a request."""
        facts = {
            "email": email,
            "current_site": _mail_site(),
            "valid_hours": settings.PASSWORD_RESET_TIMEOUT // 3600,
        }
        self.render_mail(template_prefix, email, context | facts).send()

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """Return the response to a sign-in, which makes the device known."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        remember_device(response, normalize_username(user.get_username()))
        return response

    def login(self, request: HttpRequest, user: User) -> None:
        with transaction.atomic():
            super().login(request, user)
            request.session[SIGNED_IN_AT] = time.time()
            audit.record(audit.Actor.of(request), "user.signed-in", user.get_username())

    def logout(self, request: HttpRequest) -> None:
        with transaction.atomic():
            audit.record(audit.Actor.of(request), "user.signed-out", request.user.get_username())
            super().logout(request)

    def set_password(self, user: User, password: str) -> None:
        """Store the new password. Every other session and every token of the user is then invalid."""
        with transaction.atomic():
            super().set_password(user, password)
            audit.record(audit.Actor.of(context.request), "user.password", user.get_username())


class MFAAdapter(DefaultMFAAdapter):
    """Authenticator apps, passkeys and recovery codes."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "cannot_delete_authenticator": "Your role requires a second factor, and this is your only one. "
        "Add another second factor before you remove this one.",
        "incorrect_code": "Wrong or used code. A code from the app is valid for 30 seconds and works once. "
        "A recovery code works once. Enter the newest code, or try your passkey again.",
    }

    def encrypt(self, text: str) -> str:
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret. Raises Undecipherable, whose message the form shows."""
        try:
            return encryption.decrypt(encrypted_text)
        except encryption.Undecipherable:
            logger.error("cannot decrypt a second factor: is its key missing in SECRET_KEY_FALLBACKS?")
            raise

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Return False for the last second factor of a user who must have one."""
        user = authenticator.user
        others = second_factor.authenticators_of(user).exclude(pk=authenticator.pk)
        return others.exists() or not second_factor.is_required(user)

    def generate_authenticator_name(self, user: User, type: str) -> str:
        """Return the default name of a new passkey."""
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"

    def build_totp_svg(self, url: str) -> str:
        """Return the QR code of the secret as SVG, to embed in the page."""
        code = QRCode(image_factory=SvgPathImage, border=2)
        code.add_data(url)
        image: bytes = code.make_image().to_string()
        return image.decode()


def _mail_site() -> MailSite:
    host = urlsplit(settings.PORTAL_URL).netloc
    return MailSite(name=host, domain=host)
