"""Error codes, exceptions and exit codes: one table for the buckets, the loader and the portal.

Standard library only. `ContractError` means that data is wrong, `WorldError` that the environment failed; both carry a
`Code`, whose `permanent` says whether a retry can help.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from loader.frozen import frozen


class ExitCode(IntEnum):
    """Exit codes of the loader's commands."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    REFUSED = 3
    HELD = 4
    UNREACHABLE = 75


class Cause(StrEnum):
    """The part of the system that an error is about."""

    DISK = "disk"
    OBJECT = "object"
    MANIFEST = "manifest"
    POLICY = "policy"  # on signatures
    LINK = "link"  # or an overloaded store
    AUTHENTICATION = "authentication"  # credentials; address, region and clock that requests are signed with
    ACCESS = "access"
    OPERATOR = "operator"
    HOOK = "hook"
    LOADER = "loader"


class Code(StrEnum):
    """The word for an error in buckets, JSON and tables; `ERRORS` has a row for each."""

    NO_SPACE = "NO_SPACE"
    READ_ONLY = "READ_ONLY"
    IO_ERROR = "IO_ERROR"
    SHORT_BODY = "SHORT_BODY"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    HASH_MISMATCH = "HASH_MISMATCH"
    OBJECT_CHANGED = "OBJECT_CHANGED"
    OBJECT_GONE = "OBJECT_GONE"
    ARCHIVED = "ARCHIVED"
    THROTTLED = "THROTTLED"
    TIMEOUT = "TIMEOUT"
    TOO_SLOW = "TOO_SLOW"
    NETWORK = "NETWORK"
    CREDENTIALS = "CREDENTIALS"
    FORBIDDEN = "FORBIDDEN"
    WRONG_ENDPOINT = "WRONG_ENDPOINT"
    CLOCK_SKEW = "CLOCK_SKEW"
    BAD_MANIFEST = "BAD_MANIFEST"
    BAD_NAME = "BAD_NAME"
    UNSIGNED = "UNSIGNED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    ROLLBACK = "ROLLBACK"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    HOOK_FAILED = "HOOK_FAILED"
    INTERNAL = "INTERNAL"

    @property
    def cause(self) -> Cause:
        return ERRORS[self].cause

    @property
    def permanent(self) -> bool:
        return ERRORS[self].permanent


@frozen
class ErrorKind:
    """One row of the table: a code for programs, a sentence and the next step for people.

    `permanent`: a retry cannot help until something else changes.
    """

    code: Code
    cause: Cause
    sentence: str
    advice: str
    permanent: bool


_ROWS: Final = (
    ErrorKind(
        Code.NO_SPACE,
        Cause.DISK,
        "There is not enough free space for this item.",
        "Free space in the content directory, or add another one. The load then continues automatically.",
        True,
    ),
    ErrorKind(
        Code.READ_ONLY,
        Cause.DISK,
        "The content directory cannot be written.",
        "Mount it writable, and check its owner and mode.",
        True,
    ),
    ErrorKind(
        Code.IO_ERROR,
        Cause.DISK,
        "The disk reported an error while the item was written.",
        "The item is fetched again from the start. If the error returns, check the disk.",
        False,
    ),
    ErrorKind(
        Code.SHORT_BODY,
        Cause.LINK,
        "The connection ended before the item was complete.",
        "The transfer resumes where it stopped. If the error persists, check the link and any proxy in between.",
        False,
    ),
    ErrorKind(
        Code.SIZE_MISMATCH,
        Cause.OBJECT,
        "The object in the media bucket does not have the size the manifest says.",
        "Publish the campaign again.",
        True,
    ),
    ErrorKind(
        Code.HASH_MISMATCH,
        Cause.OBJECT,
        "The bytes that arrived do not have the SHA-256 the manifest says.",
        "Publish the campaign again. If the error returns, check proxies and storage for modified data.",
        True,
    ),
    ErrorKind(
        Code.OBJECT_CHANGED,
        Cause.OBJECT,
        "The object was replaced during the transfer and no longer matches the manifest.",
        "Finish publishing, so that the manifest matches its objects. The item is then loaded again from the start.",
        True,
    ),
    ErrorKind(
        Code.OBJECT_GONE,
        Cause.OBJECT,
        "The object is not in the bucket.",
        "Publish the item again, or remove it from the campaign. The next poll clears the error.",
        True,
    ),
    ErrorKind(
        Code.ARCHIVED,
        Cause.OBJECT,
        "The object is archived, so the store cannot send it.",
        "Restore the object, or copy it to a storage class without retrieval. The load then continues automatically.",
        True,
    ),
    ErrorKind(
        Code.THROTTLED,
        Cause.LINK,
        "The store limits the number of requests.",
        "The request is repeated. If the error persists, raise the store's limits or load fewer items at once.",
        False,
    ),
    ErrorKind(
        Code.TIMEOUT,
        Cause.LINK,
        "The store did not answer in time.",
        "The request is repeated. If the error persists, check the link.",
        False,
    ),
    ErrorKind(
        Code.TOO_SLOW,
        Cause.LINK,
        "The link is too slow to be useful.",
        "Wait for a better link, or lower the minimum rate.",
        False,
    ),
    ErrorKind(
        Code.NETWORK,
        Cause.LINK,
        "The store could not be reached.",
        "Check the link, name resolution and the endpoint's address. The request is repeated.",
        False,
    ),
    ErrorKind(
        Code.CREDENTIALS,
        Cause.AUTHENTICATION,
        "The store does not accept the credentials, or there are none.",
        "Renew the access key and secret of this tail.",
        True,
    ),
    ErrorKind(
        Code.FORBIDDEN,
        Cause.ACCESS,
        "The credentials do not permit access to this object.",
        "Grant read access to the airline's media prefix and write access to the tail's own status prefix.",
        True,
    ),
    ErrorKind(
        Code.WRONG_ENDPOINT,
        Cause.AUTHENTICATION,
        "The store does not serve the bucket in the configured region or at the configured address.",
        "Set AWS_REGION, AWS_ENDPOINT_URL_S3 and AWS_S3_ADDRESSING_STYLE to what the bucket requires, and restart.",
        True,
    ),
    ErrorKind(
        Code.CLOCK_SKEW,
        Cause.AUTHENTICATION,
        "The clock of this machine differs too much from the store's.",
        "Set the clock.",
        True,
    ),
    ErrorKind(
        Code.BAD_MANIFEST,
        Cause.MANIFEST,
        "The campaign's manifest breaks the contract. Nothing of the campaign is loaded.",
        "Correct campaign.json at the position named, or publish the campaign again.",
        True,
    ),
    ErrorKind(
        Code.BAD_NAME,
        Cause.MANIFEST,
        "A name breaks the contract, so it is never used as a path or a key.",
        "Rename it, and publish again.",
        True,
    ),
    ErrorKind(
        Code.UNSIGNED,
        Cause.POLICY,
        "The campaign has no signature, and the policy requires one.",
        "Sign the campaign.",
        True,
    ),
    ErrorKind(
        Code.BAD_SIGNATURE,
        Cause.POLICY,
        "The campaign is not signed with a trusted key.",
        "Sign the campaign with a key this loader trusts.",
        True,
    ),
    ErrorKind(
        Code.ROLLBACK,
        Cause.POLICY,
        "The campaign's version is lower than the newest version accepted before.",
        "Publish a version higher than the newest one.",
        True,
    ),
    ErrorKind(
        Code.EXPIRED,
        Cause.POLICY,
        "The campaign's signature has expired.",
        "Sign the campaign again.",
        True,
    ),
    ErrorKind(
        Code.CANCELLED,
        Cause.OPERATOR,
        "An operator stopped the load.",
        "No action is needed. To load it after all, add it to the queue again.",
        True,
    ),
    ErrorKind(
        Code.HOOK_FAILED,
        Cause.HOOK,
        "The command that runs after loading failed.",
        "Read the command's own output on the aircraft.",
        False,
    ),
    ErrorKind(
        Code.INTERNAL,
        Cause.LOADER,
        "The loader met an unexpected error.",
        "Report the error, and attach the loader's log.",
        True,
    ),
)

ERRORS: Final[Mapping[Code, ErrorKind]] = MappingProxyType({row.code: row for row in _ROWS})


def parse_code(text: str) -> Code | None:
    """Return the code that `text` is; None if it is empty or the code of another loader."""
    return Code.__members__.get(text)


def find_error_kind(text: str) -> ErrorKind | None:
    """Return the row of the code that `text` is; None if the table has none."""
    code = parse_code(text)
    return None if code is None else ERRORS[code]


class _HasCode:
    """Cause and permanence of an error, from its code."""

    code: Code

    @property
    def cause(self) -> Cause:
        return self.code.cause

    @property
    def permanent(self) -> bool:
        return self.code.permanent


class ContractError(_HasCode, ValueError):
    """The data is wrong. `str()` is a sentence that names the position."""

    code: Code = Code.BAD_MANIFEST

    def __init__(self, message: str, *, code: Code | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class BadName(ContractError):
    """A name or a key breaks the rules for names."""

    code = Code.BAD_NAME


class BadManifest(ContractError):
    """A `campaign.json` is refused. The code is BAD_NAME if a name in it is the reason."""

    code = Code.BAD_MANIFEST


class BadProgress(ContractError):
    """A `.progress` is not a plain number of bytes."""

    code = Code.INTERNAL


class BadHeartbeat(ContractError):
    """A `loader.json` does not follow the contract."""

    code = Code.INTERNAL


class BadTransferQueue(ContractError):
    """A tail's transfer queue does not follow the contract; nothing of it is used."""

    code = Code.INTERNAL


class BadArchive(ContractError):
    """The archive of a load does not follow the contract, or would not if it were written."""

    code = Code.INTERNAL


class WorldError(_HasCode, Exception):
    """The environment failed: network, store or disk. `str()` is a sentence without secrets or signed URLs.

    `retry_after`: seconds that the store asked to wait; None if it did not.
    """

    def __init__(self, code: Code, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message or ERRORS[code].sentence)
        self.code = code
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[WorldError], tuple[Code, str], dict[str, float | None]]:
        """Support pickling between processes: the default would call the constructor with the sentence only."""
        return type(self), (self.code, str(self)), {"retry_after": self.retry_after}


class Unsupported(WorldError):
    """The store does not support the request (501)."""


class Stopped(Exception):
    """The loader is stopping; the operation was left in a state from which it can continue later."""


CODE_OF_ERRNO: Final[Mapping[int, Code]] = {
    errno.ENOSPC: Code.NO_SPACE,
    errno.EDQUOT: Code.NO_SPACE,
    errno.EROFS: Code.READ_ONLY,
    errno.EACCES: Code.READ_ONLY,
    errno.EPERM: Code.READ_ONLY,
}

# The store did not answer.
NO_ANSWER: Final = frozenset({Code.NETWORK, Code.TIMEOUT})
# The state of the object in the store is unknown.
UNREACHABLE: Final = NO_ANSWER | {Code.THROTTLED}
