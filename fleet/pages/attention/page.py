"""The attention page: its query parameters and the variables of its template.

Reads the database only, for airlines that the user may see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import QueryDict

from fleet.attention.acknowledgements import NOTE_LIMIT
from fleet.attention.diagnosis import CauseKind
from fleet.attention.queries import CauseGroup, LoadFindings, list_causes, list_loads, open_count, open_loads
from fleet.models import AttentionFinding
from fleet.pages.attention.columns import ISSUES
from fleet.pages.freshness import StoreOutage, load_freshness, store_outage
from ifeportal.access import Role
from ifeportal.formatting import quantity
from ifeportal.models import Airline
from ifeportal.tables.columns import Table
from ifeportal.tables.search import SEARCH_LIMIT, check_search

CAUSES_A_PAGE: Final = 12
LOADS_SHOWN: Final = 5  # of each cause
LOADS_A_PAGE: Final = 100  # of one cause, on its own page
LOADS_AT_ONCE: Final = 1_000  # acknowledged by one form
FILTER_PARAMETERS: Final = ("airline", "kind", "q", "acknowledged", "cause")
KIND_LABELS: Final[Mapping[CauseKind, str]] = {
    CauseKind.OBJECT: "object",
    CauseKind.TAIL: "tail",
    CauseKind.CODE: "error code",
}


@dataclass(frozen=True)
class AttentionQuery:
    """Query parameters: airline, kind of cause, search text, whether to include acknowledged causes, and one cause."""

    airline: str
    kind: str
    q: str
    acknowledged: str
    cause: str

    @classmethod
    def parse(cls, params: QueryDict) -> AttentionQuery:
        """Read the parameters. Raises SearchTooLong."""
        check_search(params.get("q", ""))
        return cls(*(params.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT] for name in FILTER_PARAMETERS))

    @property
    def is_filtered(self) -> bool:
        """Whether a filter may exclude causes."""
        return bool(self.airline or self.kind or self.q or self.cause)

    @property
    def address(self) -> str:
        """The parameters as a query string."""
        return urlencode({name: value for name, value in vars(self).items() if value})

    def selects(self, group: CauseGroup) -> bool:
        """Return whether the page may show the cause."""
        return group.matched and self.kind in ("", group.cause.kind) and self.cause in ("", group.cause.digest)

    def shows(self, group: CauseGroup) -> bool:
        """Return whether the page shows a selected cause: acknowledged ones only on request."""
        return group.is_open or bool(self.acknowledged or self.cause)


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
class CausePanel:
    """A cause on the page with some of its loads. `unseen` are the ids of its unacknowledged loads, for the form."""

    group: CauseGroup
    loads: Sequence[LoadFindings]
    unseen: Sequence[int]

    @property
    def more(self) -> int:
        """The number of loads that are not shown."""
        return self.group.cause.loads - len(self.loads)


@dataclass(frozen=True)
class AttentionPage:
    """Variables of the template. `open` and `acknowledged` count causes; in `operated` the user is operator.

    `page` is one of causes, or of loads if one cause is chosen.
    """

    wanted: AttentionQuery
    query: str
    airlines: Sequence[Airline]
    outage: StoreOutage
    kinds: Sequence[KindChip]
    open: int
    open_text: str
    acknowledged: int
    empty: str
    page: Page[Any]
    panels: Sequence[CausePanel]
    operated: Collection[str]
    issues_table: Table = ISSUES
    note_limit: int = NOTE_LIMIT


@dataclass(frozen=True)
class CauseList:
    """The findings of the airline, their causes, and the causes that the query selects and shows."""

    findings: QuerySet[AttentionFinding]
    groups: Sequence[CauseGroup]
    selected: Sequence[CauseGroup]
    shown: Sequence[CauseGroup]


def load_causes(user: AbstractUser | AnonymousUser, wanted: AttentionQuery) -> CauseList:
    """Load the causes of the airlines that the user may see."""
    findings = AttentionFinding.objects.visible_to(user)
    if wanted.airline:
        findings = findings.filter(airline__name=wanted.airline)
    groups = list_causes(findings, wanted.q)
    selected = [group for group in groups if wanted.selects(group)]
    return CauseList(findings, groups, selected, [group for group in selected if wanted.shows(group)])


def load_page(
    user: AbstractUser | AnonymousUser, wanted: AttentionQuery, causes: CauseList, number: str, now: datetime
) -> AttentionPage:
    """Load the page of these causes."""
    airlines = Airline.objects.visible_to(user)
    is_open = [group for group in causes.groups if group.is_open]
    acknowledged = sum(not group.is_open for group in causes.selected)
    operated = set(Airline.objects.with_role(user, Role.OPERATOR).values_list("name", flat=True))
    page, panels = _panels(causes, wanted, number, operated)
    return AttentionPage(
        wanted=wanted,
        query=wanted.address,
        airlines=list(airlines),
        outage=store_outage(list(load_freshness(airlines, now).values())),
        kinds=[KindChip(kind, sum(group.cause.kind is kind for group in is_open)) for kind in CauseKind],
        open=len(is_open),
        open_text=open_text(open_count(causes.findings), len(is_open)) if is_open else "",
        acknowledged=acknowledged,
        empty=empty_text(airlines, acknowledged),
        page=page,
        panels=panels,
        operated=operated,
    )


def _panels(
    causes: CauseList, wanted: AttentionQuery, number: str, operated: Collection[str]
) -> tuple[Page[Any], list[CausePanel]]:
    """Load the panels of a page of causes, or a page of loads of the one chosen cause; two queries."""
    if wanted.cause:
        loads = sum(group.cause.loads for group in causes.shown)
        page: Page[Any] = Paginator(range(loads), LOADS_A_PAGE).get_page(number)
        shown, first, last = causes.shown, page.start_index(), page.end_index()
    else:
        page = Paginator(causes.shown, CAUSES_A_PAGE).get_page(number)
        shown, first, last = list(page), 1, LOADS_SHOWN
    digests = [group.cause.digest for group in shown]
    rows = list_loads(causes.findings, digests, first, last) if shown else {}
    mine = [group.cause.digest for group in shown if group.is_open and group.cause.airline in operated]
    unseen = open_loads(causes.findings, mine, LOADS_AT_ONCE) if mine else {}
    return page, [
        CausePanel(group, rows.get(digest, []), unseen.get(digest, []))
        for group, digest in zip(shown, digests, strict=True)
    ]


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
