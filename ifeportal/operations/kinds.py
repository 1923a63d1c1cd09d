"""Kinds of operations. The app that owns a kind registers it in its `AppConfig.ready`.

A kind's `run` does one slice of work, a few seconds long, and returns what follows: `Continue`, `Wait` or `Done`. It
may be called again after any of its slices, also after one whose worker was killed: it resumes from the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q

from ifeportal.access import Role
from ifeportal.jobs.retries import RetryPolicy, WorkFailure
from ifeportal.operations.models import Lane, Operation, OperationState
from ifeportal.work_lease import WorkLease
from loader.errors import Code

SLICE_SECONDS: Final = 5.0  # after which a slice should end at the next safe boundary
Write = Callable[[], None]


class OperationFailed(Exception):
    """The operation ends as failed. `failure` has the code, the sentence and the advice.

    `can_retry`: a retry that a person requests may succeed, for example after they changed a setting.
    """

    def __init__(self, failure: WorkFailure, *, can_retry: bool = True) -> None:
        super().__init__(failure.error)
        self.failure, self.can_retry = failure, can_retry


class CancelRequested(Exception):
    """Someone cancelled the operation: end the slice. Raised by `Slice.report` and `Slice.commit`."""


class Slice(Protocol):
    """One slice of work on an operation. `lease` must be renewed: pass it to `ifeportal.storage.background.wait_for`.

    Every method raises LeaseLost if another worker has taken over.
    """

    @property
    def operation(self) -> Operation:
        """The row, as it was read when the slice began, with the columns that the slice has written since."""

    @property
    def lease(self) -> WorkLease:
        """The lease of the operation."""

    @property
    def now(self) -> datetime:
        """The clock of the portal (aware, UTC)."""

    @property
    def is_over(self) -> bool:
        """Whether the slice has lasted SLICE_SECONDS, or the worker is to stop: end at the next safe boundary."""

    def report(self, done: int | None = None, total: int | None = None, *, stage: str | None = None) -> None:
        """Record progress in bytes, at most once a second unless the stage changes. Raises CancelRequested.

        Within a stage `done` never falls: a smaller value is not recorded. A new stage starts from `done` (0 if None).
        """

    def commit(self, write: Write | None = None, **checkpoint: Any) -> None:
        """Merge values into the checkpoint, together with the rows that `write` writes, in one transaction."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Call `run` again as soon as a worker is free. `write` writes rows in the transaction that ends the slice."""

    write: Write | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Call `run` again after `seconds`, or earlier if `requests.wake` is called.

    `reason` is a sentence that says what the operation waits for.
    """

    seconds: float
    reason: str = ""
    write: Write | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The last step is verified. The operation has succeeded."""

    write: Write | None = None


Result = Continue | Wait | Done


@dataclass(frozen=True, slots=True)
class Caps:
    """How many operations of a kind may run at once; None: no limit of this kind."""

    total: int | None = None
    per_airline: int | None = None
    per_user: int | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """Space in the object store that the operations of one or more kinds share, in bytes.

    `limit` returns its size (None: unlimited), `used` what finished content occupies; what open operations reserve is
    added to it. Both are called under the lock of admission: at most one statement.
    """

    name: str
    limit: Callable[[], int | None]
    used: Callable[[], int]


def _no_details(operation: Operation) -> Mapping[str, Any]:
    return {}


def _no_page(operation: Operation) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of operation.

    `name` is in rows and in the API, `label` on pages. `run` does one slice. It raises WorldError (retried by
    `retry_policy`), OperationFailed, or another error of `loader.errors` (failed for good).
    `advice`: what to do about a WorldError, by code; others get a general sentence.
    `role`: who may request, cancel and retry it. `can_cancel`: whether an open operation may be cancelled now,
    `can_retry`: whether one that ended without success may be retried.
    `ended` writes the kind's rows in the transaction that ends the operation as failed, cancelled or expired.
    `clean_up` deletes what is outside the database, in a worker, before a cancelled operation ends; it may be repeated.
    `restart` prepares the kind's rows for a retry, in its transaction; it may raise `requests.RequestRejected`.
    `subject` returns what the audit log calls the operation.
    `status` returns the kind's own status word, `details` more JSON fields, `page` the address of a page or "".
    `statuses`: for each further word that `status` returns, the condition of rows that have it.
    `related`: relations of `Operation` that `status`, `details` and `page` read, which lists join ("upload").
    `space` is where `reserved_bytes` are reserved; None: they are not limited. `frees_space`: a deletion, which runs
    first when others wait for space there. `keeps_rows`: rows of ended operations are never purged.
    """

    name: str
    label: str
    run: Callable[[Slice], Result]
    lane: Lane = Lane.NORMAL
    caps: Caps = field(default_factory=Caps)
    role: Role = Role.MANAGER
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    advice: Mapping[Code, str] = field(default_factory=dict, hash=False)
    space: Space | None = None
    frees_space: bool = False
    keeps_rows: bool = False
    can_cancel: Callable[[Operation], bool] = lambda operation: True
    can_retry: Callable[[Operation], bool] = lambda operation: True
    ended: Callable[[Operation, OperationState], None] = lambda operation, state: None
    clean_up: Callable[[Slice], None] = lambda slice: None
    restart: Callable[[Operation], None] = lambda operation: None
    subject: Callable[[Operation], str] = lambda operation: operation.title
    status: Callable[[Operation], str] = lambda operation: operation.state
    details: Callable[[Operation], Mapping[str, Any]] = _no_details
    page: Callable[[Operation], str] = _no_page
    statuses: Mapping[str, Q] = field(default_factory=dict, hash=False)
    related: tuple[str, ...] = ()


_kinds: dict[str, Kind] = {}


def register(*kinds: Kind) -> None:
    """Add kinds. Raises ImproperlyConfigured for a name that has another definition."""
    for kind in kinds:
        if _kinds.setdefault(kind.name, kind) != kind:
            raise ImproperlyConfigured(f"The operation kind {kind.name!r} is registered twice.")


def registered_kinds() -> Mapping[str, Kind]:
    return MappingProxyType(_kinds)


def related_rows() -> list[str]:
    """Return the relations of `Operation` that the kinds read, for `select_related`."""
    return sorted({"airline", "user", *(name for kind in _kinds.values() for name in kind.related)})
