"""Request rates: one counter for each token, and one for each user's sessions. Counts in the cache."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle

from ifeportal.accounts.limits.networks import client_network

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which itself imports the throttles of the settings


class CallerRateThrottle(UserRateThrottle):
    """Limits the requests a minute of each token, of each user's sessions together, and of each anonymous network."""

    def get_ident(self, request: Request) -> str:
        """Return the client's network. REST framework would count each port in X-Forwarded-For by itself."""
        return client_network(request)

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        """Return the key of the counter. The token itself never gets into the cache."""
        if request.auth is None:
            return super().get_cache_key(request, view)
        ident = sha256(str(request.auth.pk).encode()).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": f"token-{ident}"}
