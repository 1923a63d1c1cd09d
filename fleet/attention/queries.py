"""Queries for loads that need attention: failed, stalled, silent, at risk or contradictory; and their acknowledgements.

Reads loads and transfers and writes acknowledgements, only of airlines that the caller selected with `visible_to`.
Excluded are loads of tails out of service, archived and deleted loads, and loads that fail because their campaign was
withdrawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from campaigns.models import Campaign
from fleet.attention.diagnosis import CauseKind, Finding, LikelyCause, group_by_cause
from fleet.choices import Inconsistency, ServiceStatus, Status
from fleet.models import Acknowledgement, Load, Transfer
from ifeportal.bulk import where_in
from ifeportal.models import Airline, User
from loader.errors import Code

LOADS_LIMIT: Final = 5_000  # that need attention; with more, the cause is common to all of them
FINDINGS_LIMIT: Final = 20_000  # failed items that are read; loads of further ones are still listed
FAILED: Final = "failed"
_OPEN: Final = Q(status__in=[Status.PENDING, Status.LOADING, Status.FAILED])
# Expected errors of a withdrawn campaign: its objects and its manifest were removed on purpose.
_EXPECTED: Final = frozenset({Code.OBJECT_GONE.value, Code.UNSIGNED.value})
_WITHDRAWN: Final = Q(campaign__withdrawn_at__isnull=False, error_code__in=_EXPECTED)
# Reasons by precedence; a load is listed under each that holds.
REASONS: Final[Mapping[str, Q]] = {
    FAILED: Q(status=Status.FAILED),
    CauseKind.STALLED.value: Q(status=Status.LOADING, stalled=True, silent=False),
    CauseKind.SILENT.value: Q(tail__silent=True) & _OPEN,
    CauseKind.AT_RISK.value: Q(at_risk=True),
    CauseKind.CONTRADICTION.value: ~Q(contradiction=""),
}


@dataclass(frozen=True)
class Issue:
    """A load that needs attention, the reasons, and the current acknowledgements by reason."""

    load: Load
    reasons: tuple[str, ...]
    acknowledged: Mapping[str, Acknowledgement]

    @property
    def is_open(self) -> bool:
        """Whether a reason is unacknowledged."""
        return any(reason not in self.acknowledged for reason in self.reasons)


@dataclass(frozen=True)
class IssueGroup:
    """A cause with its loads."""

    cause: LikelyCause
    issues: Sequence[Issue]

    @property
    def reason(self) -> str:
        """The reason that its loads are acknowledged for."""
        return self.cause.findings[0].reason

    @property
    def is_open(self) -> bool:
        """Whether one of its loads is unacknowledged."""
        return any(self.reason not in issue.acknowledged for issue in self.issues)

    @property
    def rows(self) -> list[tuple[Issue, list[Finding], Acknowledgement | None]]:
        """Each load with its findings of this cause and its acknowledgement."""
        findings: dict[int, list[Finding]] = {}
        for finding in self.cause.findings:
            findings.setdefault(finding.load, []).append(finding)
        return [(each, findings[each.load.pk], each.acknowledged.get(self.reason)) for each in self.issues]


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
    counted = loads.filter(pk__in=matching, tail__duty=ServiceStatus.ACTIVE, archived_at=None)
    return counted.exclude(Q(status=Status.DELETED) | _WITHDRAWN)


def open_count(loads: QuerySet[Load]) -> int:
    """Count the loads with an unacknowledged reason; one query."""
    unacknowledged = Q()
    for reason, condition in REASONS.items():
        acknowledged = Acknowledgement.objects.filter(load=OuterRef("pk"), state=reason, withdrawn_at=None)
        if reason == FAILED:
            acknowledged = acknowledged.filter(error_code=OuterRef("error_code"))
        unacknowledged |= condition & Q(~Exists(acknowledged))
    return needing_attention(loads).filter(unacknowledged).count()


def list_issues(loads: QuerySet[Load], limit: int) -> list[Issue]:
    """Return at most `limit` loads that need attention, nearest exhibition first; four queries."""
    rows = (
        needing_attention(loads)
        .select_related("tail")
        .order_by("campaign__exhibition_starts", "tail__airline__name", "tail__name", "pk")[:limit]
    )
    listed = list(rows)
    # One instance each: many loads share few campaigns and airlines.
    campaigns = Campaign.objects.in_bulk({row.campaign_id for row in listed})
    airlines = Airline.objects.in_bulk({row.tail.airline_id for row in listed})
    for row in listed:
        row.campaign, row.tail.airline = campaigns[row.campaign_id], airlines[row.tail.airline_id]
        row.campaign.airline = row.tail.airline
    acknowledged = _acknowledged(listed)
    return [
        Issue(
            row,
            reasons,
            {reason: acknowledged[row.pk, reason] for reason in reasons if (row.pk, reason) in acknowledged},
        )
        for row, reasons in zip(listed, map(reasons_of, listed), strict=True)
    ]


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


def _acknowledged(loads: Collection[Load]) -> dict[tuple[int, str], Acknowledgement]:
    """Return the newest current acknowledgement by load and reason."""
    if not loads:
        return {}
    codes = {load.pk: load.error_code for load in loads}
    rows = Acknowledgement.objects.filter(
        where_in(Acknowledgement, ["load_id"], ((pk,) for pk in codes)), withdrawn_at=None
    )
    return {
        (row.load_id, row.state): row
        for row in rows.order_by("at", "pk")
        if row.state != FAILED or row.error_code == codes[row.load_id]
    }


def group_issues(issues: Collection[Issue]) -> list[IssueGroup]:
    """Group the issues by likely cause; two queries if any load has failed."""
    by_load = {issue.load.pk: issue for issue in issues}
    findings = [
        finding
        for issue in issues
        for reason in issue.reasons
        if reason != FAILED
        for finding in [_load_finding(issue, reason)]
    ]
    failed = [issue for issue in issues if FAILED in issue.reasons]
    items = list(_failed_items(failed)) if failed else []
    with_items = {finding.load for finding in items}
    findings += items
    findings += [
        _load_finding(issue, FAILED) for issue in failed if _has_own(issue.load) or issue.load.pk not in with_items
    ]
    return [
        IssueGroup(cause, [by_load[pk] for pk in dict.fromkeys(finding.load for finding in cause.findings)])
        for cause in group_by_cause(findings)
    ]


def _has_own(load: Load) -> bool:
    """Return whether the error is of the campaign and not of one of its items."""
    return bool(load.error_etag) and not load.error_content


def _load_finding(issue: Issue, reason: str) -> Finding:
    load = issue.load
    code, text = "", ""
    if reason == FAILED:
        code, text = load.error_code, load.error
    elif reason == CauseKind.CONTRADICTION.value:
        text = Inconsistency(load.contradiction).label
    return _finding(load, reason, load.error_content if reason == FAILED else "", code, text)


def _failed_items(failed: Collection[Issue]) -> Iterator[Finding]:
    loads = {issue.load.pk: issue.load for issue in failed}
    rows = Transfer.objects.filter(where_in(Transfer, ["load_id"], ((pk,) for pk in loads)), status=Status.FAILED)
    items = list(rows.filter(listed=True).values_list("load_id", "content", "error_code", "error")[:FINDINGS_LIMIT])
    complete = _complete_elsewhere({(loads[load].campaign_id, content) for load, content, _, _ in items})
    for load, content, code, text in items:
        elsewhere = complete.get((loads[load].campaign_id, content), 0)
        yield replace(_finding(loads[load], FAILED, content, code, text), complete_elsewhere=elsewhere)


def _complete_elsewhere(items: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Count the tails on which each item of a campaign is complete."""
    campaigns, contents = {campaign for campaign, _ in items}, {content for _, content in items}
    complete = Transfer.objects.filter(load__campaign__in=campaigns, content__in=contents, status=Status.COMPLETE)
    counted = complete.order_by().values_list("load__campaign", "content").annotate(Count("pk"))
    return {(campaign, content): count for campaign, content, count in counted}


def _finding(load: Load, reason: str, content: str, code: str, text: str) -> Finding:
    airline = load.tail.airline.name
    return Finding(load.pk, airline, load.tail.name, load.campaign.name, reason, content, code, text)


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
