"""How django-allauth and django-axes behave here: nobody signs up, sentences say what to do, every write is kept.

May touch users, authenticators and failed attempts, each through its package.
"""

from __future__ import annotations

import ipaddress
import logging
import unicodedata
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import LoginForm, ResetPasswordForm
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt
from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from qrcode import QRCode
from qrcode.image.svg import SvgPathImage

from ifeportal import audit, encryption, secondfactor
from ifeportal.conf.authentication import COOL_OFF
from ifeportal.models import User

logger = logging.getLogger(__name__)

NAME_LIMIT = 255  # characters kept of a name that was tried
WAIT_FOR_CODES = "Too many wrong codes. Wait five minutes, then try again."


@dataclass(frozen=True)
class MailSite:
    """What mails call the portal. allauth would take both from the Host header of the request."""

    name: str
    domain: str


class Accounts(DefaultAccountAdapter):
    """Passwords and sessions. django-axes counts wrong passwords, in the database; not allauth, in a cache."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": "This account is disabled. Ask operations if it should not be.",
        "enter_current_password": "That is not your current password. Type it again; large and small letters count.",
        "incorrect_password": "That is not your password. Type it again; large and small letters count.",
        "too_many_login_attempts": WAIT_FOR_CODES,
        "rate_limited": WAIT_FOR_CODES,
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
        return place_of(request) or "0.0.0.0"  # noqa: S104  # an address that is none, not one to listen on

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
            audit.record(request, "user.signed-in", user.get_username())

    def logout(self, request: HttpRequest) -> None:
        """End the session, and keep that it ended."""
        with transaction.atomic():
            audit.record(request, "user.signed-out", request.user.get_username())
            super().logout(request)

    def set_password(self, user: User, password: str) -> None:
        """Keep the new password, and that it was changed; every other session of the user ends with it."""
        with transaction.atomic():
            super().set_password(user, password)
            audit.record(context.request, "user.password", user.get_username())


class SecondFactors(DefaultMFAAdapter):
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
        others = secondfactor.factors(user).exclude(pk=authenticator.pk)
        return others.exists() or not secondfactor.is_demanded(user)

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


class SignInForm(LoginForm):
    """User name and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "User name"


class ForgottenPasswordForm(ResetPasswordForm):
    """The address a link to set a new password is sent to."""

    def clean_email(self) -> str:
        """Only to those who have a password: who signs in elsewhere shall not get one by mail."""
        address: str = super().clean_email()
        self.users: list[User] = [user for user in self.users if user.has_usable_password()]
        return address


def _mail_site() -> MailSite:
    host = urlsplit(settings.PORTAL_URL).netloc
    return MailSite(name=host, domain=host)


def place_of(request: HttpRequest) -> str | None:
    """From where somebody tries: the address, of IPv6 the /64, since whoever has one has 2**64 addresses in it."""
    found = audit.address_of(request)
    if found is None or ":" not in found:
        return found
    address = ipaddress.IPv6Address(found)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)


def name_tried(request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """The name of an attempt to sign in, one for all ways of writing it; None if there is none."""
    name = (credentials or {}).get("username")
    if not isinstance(name, str):
        return None
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    return "".join(sign for sign in plain if sign != "\0" and not "\ud800" <= sign <= "\udfff")[:NAME_LIMIT]


def locked_out(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None) -> HttpResponse:
    """What somebody gets who was wrong too often: until when nothing is taken from them."""
    latest = AccessAttempt.objects.filter(
        username=name_tried(request, credentials), ip_address=place_of(request)
    ).aggregate(at=Max("attempt_time"))["at"]
    until = (latest or timezone.now()) + COOL_OFF
    wait = max(int((until - timezone.now()).total_seconds()), 1)
    answer = render(request, "account/locked.html", {"until": until, "minutes": -(-wait // 60)}, status=429)
    answer["Retry-After"], answer["Cache-Control"] = str(wait), "no-store"
    return answer
