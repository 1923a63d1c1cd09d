"""The error of outgoing requests that are not permitted."""

from __future__ import annotations

from loader.errors import Code, ContractError


class OutboundRefused(ContractError):
    """The portal does not send this request. `str()` is a sentence without the URL."""

    code = Code.FORBIDDEN
