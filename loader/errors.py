"""Error codes, exceptions and exit codes: one table for the buckets, the loader and the portal.

Standard library only. `ContractError` means that data is wrong, `WorldError` that the environment failed; both carry a
code of `ERRORS`, whose `permanent` says whether a retry can help.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
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


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the table: a word for programs, a sentence and the next step for people.

    `permanent`: trying the same thing again cannot help; something else has to change first.
    """

    code: str
    sentence: str
    advice: str
    permanent: bool


_ROWS: Final = (
    ErrorKind(
        "NO_SPACE",
        "There is not enough free space for this item.",
        "Free space in the content directory or add another one; the load then continues by itself.",
        True,
    ),
    ErrorKind(
        "READ_ONLY",
        "The content directory cannot be written.",
        "Mount it writable and check its owner and mode.",
        True,
    ),
    ErrorKind(
        "IO_ERROR",
        "The disk reported an error while the item was written.",
        "It is fetched again from the start; if the error comes back, check the disk.",
        False,
    ),
    ErrorKind(
        "SHORT_BODY",
        "The connection ended before the item was whole.",
        "It resumes from the bytes held; if it stays, check the link and any proxy on the way.",
        False,
    ),
    ErrorKind(
        "SIZE_MISMATCH",
        "The object in the media bucket does not have the size the manifest says.",
        "Publish the campaign again.",
        True,
    ),
    ErrorKind(
        "HASH_MISMATCH",
        "The bytes that arrived do not have the SHA-256 the manifest says.",
        "Publish the campaign again; if that does not help, look for what changes bytes on the way.",
        True,
    ),
    ErrorKind(
        "OBJECT_CHANGED",
        "The object was replaced while it was being fetched and no longer fits the manifest.",
        "Finish publishing, so that the manifest fits its objects; the load then starts this item again.",
        True,
    ),
    ErrorKind(
        "OBJECT_GONE",
        "The object is not in the bucket.",
        "Publish the item again or take it out of the campaign; it heals on the next pass.",
        True,
    ),
    ErrorKind(
        "THROTTLED",
        "The store keeps asking for fewer requests.",
        "Wait, it is tried again; if it stays, raise the store's limits or load fewer items at once.",
        False,
    ),
    ErrorKind(
        "TIMEOUT",
        "The store did not answer in time.",
        "Wait, it is tried again; if it stays, check the link.",
        False,
    ),
    ErrorKind(
        "TOO_SLOW",
        "The link carries too few bytes to be of use.",
        "Wait for a better link, or lower the minimum rate.",
        False,
    ),
    ErrorKind(
        "NETWORK",
        "The store could not be reached.",
        "Check link, name resolution and the endpoint's address; it is tried again.",
        False,
    ),
    ErrorKind(
        "CREDENTIALS",
        "The store does not accept these credentials, or there are none.",
        "Renew the access key and secret of this tail.",
        True,
    ),
    ErrorKind(
        "FORBIDDEN",
        "These credentials may not touch this object.",
        "Grant reading the airline's media prefix and writing the tail's own status prefix.",
        True,
    ),
    ErrorKind(
        "CLOCK_SKEW",
        "The clock of this machine is too far from the store's.",
        "Set the clock.",
        True,
    ),
    ErrorKind(
        "BAD_MANIFEST",
        "The campaign's manifest breaks the contract and nothing of it is used.",
        "Correct campaign.json at the place named, or publish the campaign again.",
        True,
    ),
    ErrorKind(
        "BAD_NAME",
        "A name breaks the contract and is never used as a path or a key.",
        "Rename it and publish again.",
        True,
    ),
    ErrorKind(
        "UNSIGNED",
        "The campaign has no signature and the policy asks for one.",
        "Sign the campaign.",
        True,
    ),
    ErrorKind(
        "BAD_SIGNATURE",
        "The campaign's signature is not one of a trusted key.",
        "Sign the campaign with a key this loader trusts.",
        True,
    ),
    ErrorKind(
        "ROLLBACK",
        "The campaign's version is below the one already held.",
        "Publish with a version above the newest one.",
        True,
    ),
    ErrorKind(
        "EXPIRED",
        "The campaign's signature has expired.",
        "Sign the campaign again.",
        True,
    ),
    ErrorKind(
        "CANCELLED",
        "The load was stopped by an operator.",
        "Nothing, or queue it again.",
        True,
    ),
    ErrorKind(
        "HOOK_FAILED",
        "The command to be run after loading failed.",
        "Read that command's own output on the aircraft.",
        False,
    ),
    ErrorKind(
        "INTERNAL",
        "The loader met something it was not made for.",
        "Report it with the loader's log.",
        True,
    ),
)

ERRORS: Final[Mapping[str, ErrorKind]] = MappingProxyType({row.code: row for row in _ROWS})


class ContractError(ValueError):
    """The data is wrong. `str()` is a sentence that names the place; `code` is a key of `ERRORS`."""

    code: str = "BAD_MANIFEST"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = ERRORS[code].code

    @property
    def permanent(self) -> bool:
        """Whether trying again is pointless until the data changes."""
        return ERRORS[self.code].permanent


class BadName(ContractError):
    """A name or a key breaks the rules of names."""

    code = "BAD_NAME"


class BadManifest(ContractError):
    """A `campaign.json` is refused as a whole. Its code is BAD_NAME if a name in it is the reason."""

    code = "BAD_MANIFEST"


class BadProgress(ContractError):
    """A `.progress` is not a plain number of bytes."""

    code = "INTERNAL"


class BadHeartbeat(ContractError):
    """A `loader.json` is not what the contract says."""

    code = "INTERNAL"


class BadTransferQueue(ContractError):
    """A tail's transfer queue is not what the contract says; nothing of it is used."""

    code = "INTERNAL"


class BadArchive(ContractError):
    """The archive of a load is not what the contract says, or would not be."""

    code = "INTERNAL"


class WorldError(Exception):
    """The world failed: network, store or disk. `str()` is a sentence without secrets or signed addresses.

    `retry_after`: seconds the other side asked to wait, where it did.
    """

    def __init__(self, code: str, message: str = "", *, retry_after: float | None = None) -> None:
        kind = ERRORS[code]
        super().__init__(message or kind.sentence)
        self.code = kind.code
        self.retry_after = retry_after

    @property
    def permanent(self) -> bool:
        """Whether trying again is pointless until something else changes."""
        return ERRORS[self.code].permanent

    def __reduce__(self) -> tuple[type[WorldError], tuple[str, str], dict[str, float | None]]:
        """So that it survives the way between processes: the default would call it with the sentence alone."""
        return type(self), (self.code, str(self)), {"retry_after": self.retry_after}


class Unsupported(WorldError):
    """The store does not offer what it was asked for, and says so (501)."""


class Stopped(Exception):
    """The loader was told to end; whatever was being done is left so that it can go on later."""


CODE_OF_ERRNO: Final = {
    errno.ENOSPC: "NO_SPACE",
    errno.EDQUOT: "NO_SPACE",
    errno.EFBIG: "NO_SPACE",
    errno.EROFS: "READ_ONLY",
    errno.EACCES: "READ_ONLY",
    errno.EPERM: "READ_ONLY",
}

DISK_CODES: Final = frozenset(CODE_OF_ERRNO.values()) | {"IO_ERROR"}
