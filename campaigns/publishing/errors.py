"""The error of publishing."""

from __future__ import annotations

from loader.errors import Code, ContractError


class PublishError(ContractError):
    """A folder or draft cannot be published. `reasons`: one sentence for each fault.

    `retryable`: the same request may succeed when it is repeated.
    """

    code = Code.BAD_NAME

    def __init__(self, *reasons: str, retryable: bool = False, code: Code | None = None) -> None:
        super().__init__("\n".join(reasons), code=code)
        self.reasons = reasons
        self.retryable = retryable
