"""Authentication by API token: the user of a request, limited as the token is. Touches rows of `Token` only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.crypto import hash_token
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from ifeportal.accounts.second_factor import token_gap
from ifeportal.models import Token, User

SCHEMES: Final = (b"bearer", b"token")

KEY_LIMIT: Final = 200  # bytes; a longer key is refused without a query

USED_AT_PRECISION: Final = timedelta(minutes=1)  # `used_at` of a token in use is written at most this often


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer …` (or `Token …`): the user of the token, limited for this request as the token is."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        """Return user and token, or None for a request without such a header.

        Raises AuthenticationFailed, and PermissionDenied for a write with a read-only token, or if the role of the user
        requires a second factor that the token lacks.
        """
        scheme, _, key = get_authorization_header(request).partition(b" ")
        if scheme.lower() not in SCHEMES:
            return None
        token = self._find_token(key.strip(), timezone.now())
        user = token.user
        if missing := token_gap(user, has_second_factor=token.has_second_factor):
            raise PermissionDenied(missing.value)
        user.limited_to, user.reads_only = token.airline_id, not token.may_write
        if user.reads_only and request.method not in SAFE_METHODS:
            raise PermissionDenied("This token is read-only.")
        return user, token

    def authenticate_header(self, request: Request) -> str:
        """Return the `WWW-Authenticate` header of a 401."""
        return 'Bearer realm="ifeportal"'

    @staticmethod
    def _find_token(key: bytes, now: datetime) -> Token:
        if not key.isascii() or not 0 < len(key) <= KEY_LIMIT:
            raise AuthenticationFailed("This is not a valid token.")
        rows = Token.objects.valid(now).select_related("user").filter(digest=hash_token(key.decode("ascii")))
        token: Token | None = rows.first()
        if token is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked.")
        if token.used_at is None or token.used_at < now - USED_AT_PRECISION:
            stale = Q(used_at=None) | Q(used_at__lt=now - USED_AT_PRECISION)
            Token.objects.filter(stale, pk=token.pk).update(used_at=now)
        return token


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Token authentication in the OpenAPI schema."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "Create a token at `/account/tokens/`. It is shown only once.",
        }
