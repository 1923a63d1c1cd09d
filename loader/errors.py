"""Error codes, exceptions and exit codes: one table for the buckets, the loader and the portal.

Standard library only. `ContractError` means that data is wrong, `WorldError` that the environment failed; both carry a
`Code`, whose `permanent` says whether a retry can help.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class ExitCode(IntEnum):
    """How a command ends."""

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
    LINK = "link"  # and how busy the store is at its other end
    AUTHENTICATION = "authentication"  # keys, and the clock they are used by
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
    THROTTLED = "THROTTLED"
    TIMEOUT = "TIMEOUT"
    TOO_SLOW = "TOO_SLOW"
    NETWORK = "NETWORK"
    CREDENTIALS = "CREDENTIALS"
    FORBIDDEN = "FORBIDDEN"
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
        """The cause of this code in `ERRORS`."""
        return ERRORS[self].cause

    @property
    def permanent(self) -> bool:
        """Whether trying again is pointless until something else changes."""
        return ERRORS[self].permanent


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the table: a word for programs, a sentence and the next step for people.

    `permanent`: trying the same thing again cannot help; something else has to change first.
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
        "Free space in the content directory or add another one; the load then continues by itself.",
        True,
    ),
    ErrorKind(
        Code.READ_ONLY,
        Cause.DISK,
        "The content directory cannot be written.",
        "Mount it writable and check its owner and mode.",
        True,
    ),
    ErrorKind(
        Code.IO_ERROR,
        Cause.DISK,
        "The disk reported an error while the item was written.",
        "It is fetched again from the start; if the error comes back, check the disk.",
        False,
    ),
    ErrorKind(
        Code.SHORT_BODY,
        Cause.LINK,
        "The connection ended before the item was whole.",
        "It resumes from the bytes held; if it stays, check the link and any proxy on the way.",
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
        "Publish the campaign again; if that does not help, look for what changes bytes on the way.",
        True,
    ),
    ErrorKind(
        Code.OBJECT_CHANGED,
        Cause.OBJECT,
        "The object was replaced while it was being fetched and no longer fits the manifest.",
        "Finish publishing, so that the manifest fits its objects; the load then starts this item again.",
        True,
    ),
    ErrorKind(
        Code.OBJECT_GONE,
        Cause.OBJECT,
        "The object is not in the bucket.",
        "Publish the item again or take it out of the campaign; it heals on the next pass.",
        True,
    ),
    ErrorKind(
        Code.THROTTLED,
        Cause.LINK,
        "The store keeps asking for fewer requests.",
        "Wait, it is tried again; if it stays, raise the store's limits or load fewer items at once.",
        False,
    ),
    ErrorKind(
        Code.TIMEOUT,
        Cause.LINK,
        "The store did not answer in time.",
        "Wait, it is tried again; if it stays, check the link.",
        False,
    ),
    ErrorKind(
        Code.TOO_SLOW,
        Cause.LINK,
        "The link carries too few bytes to be of use.",
        "Wait for a better link, or lower the minimum rate.",
        False,
    ),
    ErrorKind(
        Code.NETWORK,
        Cause.LINK,
        "The store could not be reached.",
        "Check link, name resolution and the endpoint's address; it is tried again.",
        False,
    ),
    ErrorKind(
        Code.CREDENTIALS,
        Cause.AUTHENTICATION,
        "The store does not accept these credentials, or there are none.",
        "Renew the access key and secret of this tail.",
        True,
    ),
    ErrorKind(
        Code.FORBIDDEN,
        Cause.ACCESS,
        "These credentials may not touch this object.",
        "Grant reading the airline's media prefix and writing the tail's own status prefix.",
        True,
    ),
    ErrorKind(
        Code.CLOCK_SKEW,
        Cause.AUTHENTICATION,
        "The clock of this machine is too far from the store's.",
        "Set the clock.",
        True,
    ),
    ErrorKind(
        Code.BAD_MANIFEST,
        Cause.MANIFEST,
        "The campaign's manifest breaks the contract and nothing of it is used.",
        "Correct campaign.json at the place named, or publish the campaign again.",
        True,
    ),
    ErrorKind(
        Code.BAD_NAME,
        Cause.MANIFEST,
        "A name breaks the contract and is never used as a path or a key.",
        "Rename it and publish again.",
        True,
    ),
    ErrorKind(
        Code.UNSIGNED,
        Cause.POLICY,
        "The campaign has no signature and the policy asks for one.",
        "Sign the campaign.",
        True,
    ),
    ErrorKind(
        Code.BAD_SIGNATURE,
        Cause.POLICY,
        "The campaign's signature is not one of a trusted key.",
        "Sign the campaign with a key this loader trusts.",
        True,
    ),
    ErrorKind(
        Code.ROLLBACK,
        Cause.POLICY,
        "The campaign's version is below the one already held.",
        "Publish with a version above the newest one.",
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
        "The load was stopped by an operator.",
        "Nothing, or queue it again.",
        True,
    ),
    ErrorKind(
        Code.HOOK_FAILED,
        Cause.HOOK,
        "The command to be run after loading failed.",
        "Read that command's own output on the aircraft.",
        False,
    ),
    ErrorKind(
        Code.INTERNAL,
        Cause.LOADER,
        "The loader met something it was not made for.",
        "Report it with the loader's log.",
        True,
    ),
)

ERRORS: Final[Mapping[Code, ErrorKind]] = MappingProxyType({row.code: row for row in _ROWS})


def parse_code(text: str) -> Code | None:
    """Return the code that `text` is; None for a word of another loader, and for an empty one."""
    return Code.__members__.get(text)


def find_error_kind(text: str) -> ErrorKind | None:
    """Return the row of the code that `text` is; None where the table has none."""
    code = parse_code(text)
    return None if code is None else ERRORS[code]


class ContractError(ValueError):
    """The data is wrong. `str()` is a sentence that names the place."""

    code: Code = Code.BAD_MANIFEST

    def __init__(self, message: str, *, code: Code | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def cause(self) -> Cause:
        """The part of the system that the error is about."""
        return self.code.cause

    @property
    def permanent(self) -> bool:
        """Whether trying again is pointless until the data changes."""
        return self.code.permanent


class BadName(ContractError):
    """A name or a key breaks the rules of names."""

    code = Code.BAD_NAME


class BadManifest(ContractError):
    """A `campaign.json` is refused as a whole. Its code is BAD_NAME if a name in it is the reason."""

    code = Code.BAD_MANIFEST


class BadProgress(ContractError):
    """A `.progress` is not a plain number of bytes."""

    code = Code.INTERNAL


class BadHeartbeat(ContractError):
    """A `loader.json` is not what the contract says."""

    code = Code.INTERNAL


class BadTransferQueue(ContractError):
    """A tail's transfer queue is not what the contract says; nothing of it is used."""

    code = Code.INTERNAL


class BadArchive(ContractError):
    """The archive of a load is not what the contract says, or would not be."""

    code = Code.INTERNAL


class WorldError(Exception):
    """The world failed: network, store or disk. `str()` is a sentence without secrets or signed addresses.

    `retry_after`: seconds the other side asked to wait, where it did.
    """

    def __init__(self, code: Code, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message or ERRORS[code].sentence)
        self.code = code
        self.retry_after = retry_after

    @property
    def cause(self) -> Cause:
        """The part of the system that the error is about."""
        return self.code.cause

    @property
    def permanent(self) -> bool:
        """Whether trying again is pointless until something else changes."""
        return self.code.permanent

    def __reduce__(self) -> tuple[type[WorldError], tuple[Code, str], dict[str, float | None]]:
        """So that it survives the way between processes: the default would call it with the sentence alone."""
        return type(self), (self.code, str(self)), {"retry_after": self.retry_after}


class Unsupported(WorldError):
    """The store does not offer what it was asked for, and says so (501)."""


class Stopped(Exception):
    """The loader was told to end; whatever was being done is left so that it can go on later."""


CODE_OF_ERRNO: Final[Mapping[int, Code]] = {
    errno.ENOSPC: Code.NO_SPACE,
    errno.EDQUOT: Code.NO_SPACE,
    errno.EFBIG: Code.NO_SPACE,
    errno.EROFS: Code.READ_ONLY,
    errno.EACCES: Code.READ_ONLY,
    errno.EPERM: Code.READ_ONLY,
}

# Nothing answered.
NO_ANSWER: Final = frozenset({Code.NETWORK, Code.TIMEOUT})
# The store could not be asked; nothing is known against what it holds.
UNREACHABLE: Final = NO_ANSWER | {Code.THROTTLED}
