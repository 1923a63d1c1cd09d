"""Changes since a revision, for programs: one page of the feed within a user's scope. Reads the feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from ifeportal.live.feed import current_rev
from ifeportal.live.models import Change
from ifeportal.live.pruning import oldest_complete_rev
from ifeportal.live.reader import changes_seen_in
from ifeportal.live.scope import Scope
from ifeportal.models import User

DEFAULT_LIMIT, MAX_LIMIT = 500, 1000  # changes of one answer


@dataclass(frozen=True, slots=True)
class ChangesRequest:
    """A question that may wait, as the view understood it; without a scope there is nothing to wait for.

    `is_recheck`: only to see whether the user may still hear it, so that it does not count as a request.
    """

    is_recheck: bool = False
    user: User | None = None
    scope: Scope | None = None
    since: int | None = None
    limit: int = DEFAULT_LIMIT
    wait: int = 0
    stream: bool = False


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Changes as JSON; whoever has them has everything up to `rev`. `more`: there are further ones to ask for."""

    rev: int
    texts: Sequence[str] = ()
    more: bool = False


def changes_since(hearing: ChangesRequest) -> ChangesPage | None:
    """What changed since the revision asked about; None if that cannot be told any more, or there never was such a one.

    Whole revisions only, about `limit` changes. Raises django.db.Error.
    """
    newest = current_rev()  # before the rows: they hold everything up to it
    if hearing.since is None:
        return ChangesPage(newest)
    newer = _rows_in_scope(hearing).filter(rev__gt=hearing.since).order_by("rev")
    rows = list(newer[: hearing.limit + 1])
    more = len(rows) > hearing.limit
    if more:
        cut = rows[-1].rev
        rows = [row for row in rows if row.rev < cut] or list(newer.filter(rev=cut))
    if hearing.since < oldest_complete_rev() or hearing.since > newest:
        return None
    rev = rows[-1].rev if more else max([newest, *(row.rev for row in rows[-1:])])
    assert hearing.scope is not None
    return ChangesPage(rev, [item.text for item in changes_seen_in(hearing.scope, rows)], more)


def _rows_in_scope(hearing: ChangesRequest) -> QuerySet[Change]:
    assert hearing.user is not None
    assert hearing.scope is not None
    return hearing.scope.narrow(Change.objects.relevant_to(hearing.user))
