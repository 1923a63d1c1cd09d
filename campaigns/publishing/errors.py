"""The error of publishing: what cannot be published, and whether trying again can help."""

from __future__ import annotations

from loader.errors import Code, ContractError


class PublishError(ContractError):
    """The folder, or what was asked for, cannot become a campaign. `reasons`: one sentence each, all of them.

    `retryable`: the same command may well succeed when it is run once more.
    """

    code = Code.BAD_NAME

    def __init__(self, *reasons: str, retryable: bool = False) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons
        self.retryable = retryable
