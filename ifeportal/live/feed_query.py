"""Queries of the change feed: what the reader, a page and a program have not seen yet. Reads the feed only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from ifeportal.live.feed import current_rev
from ifeportal.live.models import Change
from ifeportal.live.pruning import oldest_complete_rev
from ifeportal.live.scope import Scope
from ifeportal.live.sockets.revocation import AccessGrant
from ifeportal.live.subscription import PENDING_LIMIT, PendingChange
from ifeportal.models import User

DEFAULT_LIMIT, MAX_LIMIT = 500, 1000  # changes of one answer
READ_LIMIT = 2000  # rows that the reader takes at a time


@dataclass(frozen=True, slots=True)
class ChangesRequest:
    """A request for changes, as the view parsed it. Without a scope it has no right to wait.

    `is_recheck`: made only to check that an open stream is still authorised, so it does not count as a request.
    `grant`: what the request authenticated with, and the access that the scope was derived from.
    """

    is_recheck: bool = False
    user: User | None = None
    grant: AccessGrant | None = None
    scope: Scope | None = None
    since: int | None = None
    limit: int = DEFAULT_LIMIT
    wait: int = 0
    stream: bool = False


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Changes as JSON; with them the client has everything up to `rev`. `more`: further changes can be requested."""

    rev: int
    texts: Sequence[str] = ()
    more: bool = False


def changes_after(rev: int) -> list[PendingChange]:
    """Return what is newer than `rev`, oldest first: complete revisions, about READ_LIMIT rows. Usually one query."""
    rows, _ = _complete_revisions(Change.objects.filter(rev__gt=rev), READ_LIMIT)
    return [PendingChange.of(row) for row in rows]


def missed_since(rev: int, user: User, scope: Scope) -> list[PendingChange] | None:
    """Return what the user's page missed since revision `rev`; None if the page must be loaded again.

    That is: too much was missed, deletions since then were pruned, or the revision never existed because the database
    was restored or recreated.
    """
    rows = list(_rows_in_scope(user, scope, rev).order_by("rev")[: PENDING_LIMIT + 1])
    if len(rows) > PENDING_LIMIT or rev < oldest_complete_rev() or (not rows and rev > current_rev()):
        return None
    return _changes_seen_in(scope, rows)


def changes_since(request: ChangesRequest) -> ChangesPage | None:
    """Return the changes since the requested revision; None if they are no longer known, or it never existed.

    Complete revisions only, about `limit` changes. Raises django.db.Error.
    """
    newest = current_rev()  # before the rows: they include everything up to it
    if request.since is None:
        return ChangesPage(newest)
    assert request.user is not None
    assert request.scope is not None
    rows, more = _complete_revisions(_rows_in_scope(request.user, request.scope, request.since), request.limit)
    if request.since < oldest_complete_rev() or request.since > newest:
        return None
    rev = rows[-1].rev if more else max([newest, *(row.rev for row in rows[-1:])])
    return ChangesPage(rev, [item.text for item in _changes_seen_in(request.scope, rows)], more)


def _rows_in_scope(user: User, scope: Scope, since: int) -> QuerySet[Change]:
    return scope.narrow(Change.objects.relevant_to(user)).filter(rev__gt=since)


def _complete_revisions(rows: QuerySet[Change], limit: int) -> tuple[list[Change], bool]:
    """Return about `limit` rows in the order of revisions, and whether more follow.

    A revision is never split: a reader that continues from the last row's revision misses nothing.
    """
    first = list(rows.order_by("rev")[: limit + 1])
    if len(first) <= limit:
        return first, False
    cut = first[-1].rev
    return [row for row in first if row.rev < cut] or list(rows.filter(rev=cut)), True


def _changes_seen_in(scope: Scope, rows: Iterable[Change]) -> list[PendingChange]:
    seen = (PendingChange.of(row).as_seen_in(scope) for row in rows)
    return [item for item in seen if item is not None]
