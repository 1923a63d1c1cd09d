"""The attention page: its query parameters and the variables of its template.

Reads the database only, for airlines that the user may see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import QueryDict

from fleet.attention.acknowledgements import NOTE_LIMIT
from fleet.attention.diagnosis import CauseKind
from fleet.attention.queries import LOADS_LIMIT, Issue, IssueGroup, group_issues, list_issues
from fleet.models import Load
from fleet.pages.attention.columns import ISSUES
from fleet.pages.freshness import StoreOutage, load_freshness, store_outage
from ifeportal.access import Role
from ifeportal.formatting import quantity
from ifeportal.models import Airline
from ifeportal.tables.columns import Table
from ifeportal.tables.search import SEARCH_LIMIT, check_search

GROUPS_A_PAGE: Final = 12
FILTER_PARAMETERS: Final = ("airline", "kind", "q", "acknowledged")
KIND_LABELS: Final[Mapping[CauseKind, str]] = {
    CauseKind.OBJECT: "object",
    CauseKind.TAIL: "tail",
    CauseKind.CODE: "error code",
}


@dataclass(frozen=True)
class AttentionQuery:
    """Query parameters: airline, kind of cause, search text, and whether to include acknowledged causes."""

    airline: str
    kind: str
    q: str
    acknowledged: str

    @classmethod
    def parse(cls, params: QueryDict) -> AttentionQuery:
        """Read the parameters. Raises SearchTooLong."""
        check_search(params.get("q", ""))
        return cls(*(params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT] for name in FILTER_PARAMETERS))

    @property
    def is_filtered(self) -> bool:
        """Whether a filter may exclude causes."""
        return bool(self.airline or self.kind or self.q)

    @property
    def address(self) -> str:
        """The parameters as a query string."""
        return urlencode({name: value for name, value in vars(self).items() if value})

    def matches(self, group: IssueGroup) -> bool:
        """Return whether the cause has that kind and one of its findings contains the text."""
        if self.kind and group.cause.kind != self.kind:
            return False
        search = self.q.casefold()
        texts = (text for each in group.cause.findings for text in (each.tail, each.campaign, each.content, each.code))
        return not search or any(search in text.casefold() for text in texts)


@dataclass(frozen=True)
class KindChip:
    """A kind of cause and its number of open causes."""

    kind: CauseKind
    count: int

    @property
    def label(self) -> str:
        """The label; empty for kinds that are named like their state."""
        return KIND_LABELS.get(self.kind, "")


@dataclass(frozen=True)
class AttentionPage:
    """Variables of the template. `open` and `acknowledged` count causes; in `operated` the user is operator."""

    wanted: AttentionQuery
    query: str
    airlines: Sequence[Airline]
    outage: StoreOutage
    kinds: Sequence[KindChip]
    open: int
    open_text: str
    acknowledged: int
    empty: str
    page: Page[IssueGroup]
    cut: bool
    operated: Collection[str]
    issues_table: Table = ISSUES
    note_limit: int = NOTE_LIMIT


@dataclass(frozen=True)
class IssueList:
    """Loads that need attention, their causes, and the causes that the query selects and shows."""

    issues: Sequence[Issue]
    groups: Sequence[IssueGroup]
    selected: Sequence[IssueGroup]
    shown: Sequence[IssueGroup]


def load_issues(user: AbstractUser | AnonymousUser, wanted: AttentionQuery) -> IssueList:
    """Load the issues of the airlines that the user may see."""
    loads = Load.objects.visible_to(user)
    if wanted.airline:
        loads = loads.filter(tail__airline__name=wanted.airline)
    issues = list_issues(loads, LOADS_LIMIT)
    groups = group_issues(issues)
    selected = [group for group in groups if wanted.matches(group)]
    shown = selected if wanted.acknowledged else [group for group in selected if group.is_open]
    return IssueList(issues, groups, selected, shown)


def load_page(
    user: AbstractUser | AnonymousUser, wanted: AttentionQuery, issues: IssueList, number: str, now: datetime
) -> AttentionPage:
    """Load the page of these issues."""
    airlines = Airline.objects.visible_to(user)
    is_open = [group for group in issues.groups if group.is_open]
    acknowledged = sum(not group.is_open for group in issues.selected)
    return AttentionPage(
        wanted=wanted,
        query=wanted.address,
        airlines=list(airlines),
        outage=store_outage(list(load_freshness(airlines, now).values())),
        kinds=[KindChip(kind, sum(group.cause.kind is kind for group in is_open)) for kind in CauseKind],
        open=len(is_open),
        open_text=open_text(sum(issue.is_open for issue in issues.issues), len(is_open)),
        acknowledged=acknowledged,
        empty=empty_text(airlines, acknowledged),
        page=Paginator(issues.shown, GROUPS_A_PAGE).get_page(number),
        cut=len(issues.issues) == LOADS_LIMIT,
        operated=set(Airline.objects.with_role(user, Role.OPERATOR).values_list("name", flat=True)),
    )


def open_text(loads: int, causes: int) -> str:
    """Return the number of open loads and causes; empty for none."""
    return f"{quantity(loads, 'open load')} in {quantity(causes, 'cause')}" if causes else ""


def empty_text(airlines: Sequence[Airline] | QuerySet[Airline], acknowledged: int) -> str:
    """Return the text of the empty page."""
    whose = str(airlines[0]) if len(airlines) == 1 else "your airlines"
    others = f" {quantity(acknowledged, 'acknowledged cause')} not shown." if acknowledged else ""
    return (
        f"No load of {whose} is failed, stalled, silent, at risk or contradictory.{others} "
        "Loads appear here as soon as they need attention."
    )
