"""Creation of API tokens. Touches rows of `Token` only."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.utils import timezone
from knox.models import get_digest_token
from knox.settings import CONSTANTS

from ifeportal.models import Airline, Token, User

TOKENS_PER_USER: Final = 20


def create_token(
    user: User,
    name: str,
    *,
    days: int,
    airline: Airline | None,
    may_write: bool,
    has_second_factor: bool = False,
) -> tuple[Token, str]:
    """Create a token valid for `days`. Return it and its key, of which only the digest is stored.

    `has_second_factor`: the session that creates it used a second factor.
    """
    digest, key = get_digest_token()
    token = Token.objects.create(
        user=user,
        digest=digest,
        token_key=key[: CONSTANTS.TOKEN_KEY_LENGTH],
        expiry=timezone.now() + timedelta(days=days),
        name=name,
        airline=airline,
        may_write=may_write,
        has_second_factor=has_second_factor,
    )
    return token, key
