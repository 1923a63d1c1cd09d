"""Queries for loads that need attention: failed, stalled, silent, at risk or contradictory; and their acknowledgements.

Pages read the findings that `fleet.attention.keeping` stores, only of airlines that the caller selected with
`visible_to`. Excluded are loads of tails out of service, archived and deleted loads, and loads that fail because their
campaign was withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, F, Min, Q, QuerySet, Subquery, Value, Window
from django.db.models.functions import DenseRank, RowNumber

from fleet.attention.diagnosis import FAILED, OF_ONE_CAMPAIGN, CauseKey, CauseKind, LikelyCause
from fleet.choices import ServiceStatus, Status
from fleet.models import Acknowledgement, AttentionFinding, Load
from ifeportal.models import User
from loader.errors import Code

FINDINGS_LIMIT: Final = 20_000  # in one answer
FINDINGS_SHOWN: Final = 5  # of each load on a page
_OPEN: Final = Q(status__in=[Status.PENDING, Status.LOADING, Status.FAILED])
# Expected errors of a withdrawn campaign: its objects and its manifest were removed on purpose.
EXPECTED: Final = frozenset({Code.OBJECT_GONE.value, Code.UNSIGNED.value})
_WITHDRAWN: Final = Q(campaign__withdrawn_at__isnull=False, error_code__in=EXPECTED)
# Reasons by precedence; a load is listed under each that holds.
REASONS: Final[Mapping[str, Q]] = {
    FAILED: Q(status=Status.FAILED),
    CauseKind.STALLED.value: Q(status=Status.LOADING, stalled=True, silent=False),
    CauseKind.SILENT.value: Q(tail__silent=True) & _OPEN,
    CauseKind.AT_RISK.value: Q(at_risk=True),
    CauseKind.CONTRADICTION.value: ~Q(contradiction=""),
}


@dataclass(frozen=True, slots=True)
class LoadFindings:
    """A load with the first findings of one cause, the number of all of them, and its acknowledgement."""

    load: Load
    findings: Sequence[AttentionFinding]
    total: int
    acknowledgement: Acknowledgement | None

    @property
    def more(self) -> int:
        """The number of findings that are not listed."""
        return self.total - len(self.findings)


@dataclass(frozen=True, slots=True)
class CauseGroup:
    """A cause, how many of its findings are unacknowledged, and whether one of them contains the search text."""

    cause: LikelyCause
    unacknowledged: int
    matched: bool

    @property
    def reason(self) -> str:
        """The reason that its loads are acknowledged for."""
        return self.cause.reason

    @property
    def is_open(self) -> bool:
        """Whether one of its loads is unacknowledged."""
        return self.unacknowledged > 0


def needing_attention(loads: QuerySet[Load]) -> QuerySet[Load]:
    """Select the loads that need attention, acknowledged or not.

    Conditions on the load and on its tail are two queries, so that each uses its partial index.
    """
    all_loads, by_itself = Load.objects.order_by(), Q()
    for reason, condition in REASONS.items():
        if reason != CauseKind.SILENT.value:
            by_itself |= condition
    matching = (
        all_loads.filter(by_itself).values("pk").union(all_loads.filter(REASONS[CauseKind.SILENT.value]).values("pk"))
    )
    return _counted(loads.filter(pk__in=matching))


def in_attention(loads: QuerySet[Load]) -> QuerySet[Load]:
    """Select the same among few loads, where no index on the conditions is needed."""
    any_reason = Q()
    for condition in REASONS.values():
        any_reason |= condition
    return _counted(loads.filter(any_reason))


def _counted(loads: QuerySet[Load]) -> QuerySet[Load]:
    counted = loads.filter(tail__duty=ServiceStatus.ACTIVE, archived_at=None)
    return counted.exclude(Q(status=Status.DELETED) | _WITHDRAWN)


def open_count(findings: QuerySet[AttentionFinding]) -> int:
    """Count the loads with an unacknowledged reason; one query."""
    return findings.filter(acknowledgement=None).order_by().values("load").distinct().count()


def open_count_subquery(findings: QuerySet[AttentionFinding]) -> Subquery:
    """Return `open_count`, or None for 0, as a column of another statement."""
    counted = findings.filter(acknowledgement=None).order_by().values(one=Value(1))
    return Subquery(counted.annotate(count=Count("load", distinct=True)).values("count"))


def list_causes(findings: QuerySet[AttentionFinding], search: str = "") -> list[CauseGroup]:
    """Return the causes in the order of pages, with their numbers; one query."""
    contains = Q()
    for name in ("tail__name", "load__campaign__name", "content", "code"):
        contains |= Q(**{f"{name}__icontains": search})
    rows = (
        findings.order_by()
        .values("cause")
        .annotate(
            _kind=Min("kind"),
            _airline=Min("airline__name"),
            _campaign=Min("load__campaign__name"),
            _subject=Min("subject"),
            _code=Min("code"),
            tails=Count("tail", distinct=True),
            loads=Count("load", distinct=True),
            contents=Count("content", distinct=True, filter=~Q(content="")),
            unacknowledged=Count("pk", filter=Q(acknowledgement=None)),
            matched=Count("pk", filter=contains) if search else Count("pk"),
        )
    )
    return sorted(map(_group, rows), key=lambda group: group.cause.rank)


def _group(row: Mapping[str, Any]) -> CauseGroup:
    kind = CauseKind(row["_kind"])
    campaign = row["_campaign"] if kind in OF_ONE_CAMPAIGN else ""
    key = CauseKey(kind, row["_airline"], campaign, row["_subject"], row["_code"])
    cause = LikelyCause(key, tails=row["tails"], loads=row["loads"], contents=row["contents"])
    return CauseGroup(cause, row["unacknowledged"], row["matched"] > 0)


def list_loads(
    findings: QuerySet[AttentionFinding], causes: Iterable[str], first: int, last: int, each: int = FINDINGS_SHOWN
) -> dict[str, list[LoadFindings]]:
    """Return the loads `first` to `last` (from 1) of each of these causes (digests), with `each` of their findings.

    One query. Loads are ordered by tail, then by campaign. At most `FINDINGS_LIMIT` findings are read.
    """
    by_name = [F("tail__name").asc(), F("load__campaign__name").asc(), F("load").asc()]
    of_load = [F("cause"), F("load")]
    rows = (
        _with_rows(findings.filter(cause__in=list(causes)))
        .annotate(
            place=Window(DenseRank(), partition_by=F("cause"), order_by=by_name),
            line=Window(RowNumber(), partition_by=of_load, order_by=F("content").asc()),
            total=Window(Count("pk"), partition_by=of_load),
        )
        .filter(place__gte=first, place__lte=last, line__lte=each)
        .order_by("place", "line")[:FINDINGS_LIMIT]
    )
    return _by_cause(rows)


def open_loads(findings: QuerySet[AttentionFinding], causes: Iterable[str], limit: int) -> dict[str, list[int]]:
    """Return the ids of at most `limit` unacknowledged loads of each of these causes (digests)."""
    rows = findings.filter(cause__in=list(causes), acknowledgement=None).order_by("cause", "load")
    found: dict[str, list[int]] = {}
    for cause, load in rows.values_list("cause", "load").distinct():
        loads = found.setdefault(cause, [])
        if len(loads) < limit:
            loads.append(load)
    return found


def iter_findings(findings: QuerySet[AttentionFinding], cause: str) -> Iterator[AttentionFinding]:
    """Return all findings of a cause (digest) with what files say of them."""
    yield from _with_rows(findings.filter(cause=cause)).order_by("tail__name", "load__campaign__name", "content")


def _with_rows(findings: QuerySet[AttentionFinding]) -> QuerySet[AttentionFinding]:
    return findings.select_related("airline", "tail", "load__campaign", "acknowledgement")


def _by_cause(rows: Iterable[AttentionFinding]) -> dict[str, list[LoadFindings]]:
    """Group findings by cause and load. Rows of one load have one instance of it."""
    lists: dict[str, dict[int, list[AttentionFinding]]] = {}
    for row in rows:
        row.load.tail, row.tail.airline, row.load.campaign.airline = row.tail, row.airline, row.airline
        lists.setdefault(row.cause, {}).setdefault(row.load_id, []).append(row)
    return {
        cause: [
            LoadFindings(found[0].load, found, getattr(found[0], "total", len(found)), found[0].acknowledgement)
            for found in loads.values()
        ]
        for cause, loads in lists.items()
    }


def reasons_of(load: Load) -> tuple[str, ...]:
    """Return the reasons that hold for the load, in the order of `REASONS`. The load's tail must be loaded."""
    holds = {
        FAILED: load.status == Status.FAILED,
        CauseKind.STALLED.value: load.status == Status.LOADING and load.stalled and not load.silent,
        CauseKind.SILENT.value: load.tail.silent and load.status in (Status.PENDING, Status.LOADING, Status.FAILED),
        CauseKind.AT_RISK.value: load.at_risk,
        CauseKind.CONTRADICTION.value: bool(load.contradiction),
    }
    return tuple(reason for reason in REASONS if holds[reason])


def create_acknowledgement(load: Load, reason: str, user: User, note: str, now: datetime) -> Acknowledgement | None:
    """Acknowledge the load for `user`. Return None if it no longer needs attention for that reason."""
    if not needing_attention(Load.objects.filter(pk=load.pk)).filter(REASONS[reason]).exists():
        return None
    return Acknowledgement.objects.create(
        load=load,
        state=reason,
        error_code=load.error_code if reason == FAILED else "",
        note=note,
        user=user,
        who=user.get_username(),
        at=now,
    )


def withdraw_acknowledgements(load: Load, reason: str, now: datetime) -> int:
    """Withdraw the acknowledgements and return their number."""
    return Acknowledgement.objects.filter(load=load, state=reason, withdrawn_at=None).update(withdrawn_at=now)
