"""Table of loads that need attention: one row per load on the page, one per finding in the file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from django.urls import reverse

from fleet.attention.diagnosis import CauseKind, Finding
from fleet.attention.queries import Issue, IssueGroup
from fleet.models import Acknowledgement, Load
from fleet.pages.cells import as_of, tail_link
from fleet.pages.risk import risk_sentence
from ifeportal.tables.cells import age, figure, labelled
from ifeportal.tables.columns import Column, Table, template_cell

FINDINGS_SHOWN: Final = 5  # per load
Line = tuple[IssueGroup, Issue, Finding, Acknowledgement | None]
Row = tuple[Issue, Sequence[Finding], Acknowledgement | None]


def _tail(row: Row, context: Any) -> str:
    load = row[0].load
    start = reverse("tail", args=[load.tail.airline.name, "-"])[:-2]
    return tail_link(load.tail.name, start, load.campaign.name, "items")


def _campaign(row: Row, context: Any) -> str:
    campaign = row[0].load.campaign
    return f'<a href="{escape(campaign.get_absolute_url())}">{escape(campaign.name)}</a>'


def _held(row: Row, context: Any) -> str:
    return labelled("Loaded", figure(row[0].load.percent, "percent", "percent"))


def _as_of(row: Row, context: Any) -> str:
    return as_of(row[0].load, context)


def _what(row: Row, context: Any) -> str:
    """List the first findings of the load and the number of others."""
    load, findings, _ = row
    shown = [_finding(each, load.load, context) for each in findings[:FINDINGS_SHOWN]]
    if len(findings) > FINDINGS_SHOWN:
        shown.append(f'<div class="muted">{len(findings) - FINDINGS_SHOWN} more items</div>')
    return "".join(shown)


def _finding(finding: Finding, load: Load, context: Any) -> str:
    content = f"<b>{escape(finding.content)}</b>" if finding.content else ""
    code = f'<span class="code">{escape(finding.code)}</span>' if finding.code and not context["cause"].code else ""
    parts = (content, code, _finding_text(finding, load, context["now"]))
    return f"<div>{' '.join(part for part in parts if part)}</div>"


def _finding_text(finding: Finding, load: Load, now: datetime) -> str:
    if finding.text:
        return f'<span class="text">{escape(finding.text)}</span>'
    match finding.reason:
        case CauseKind.SILENT:
            return f"last contact {age(load.tail.heard_at, now)}"
        case CauseKind.STALLED:
            return f"last data {age(load.moved_at, now)}"
        case CauseKind.AT_RISK:
            return escape(risk_sentence(load, now))
    return ""


# One row per load of a group on the page, one per finding in the file.
ISSUES: Final = Table(
    "attention",
    (
        Column("cause", "Likely cause", lambda line: line[0].cause.kind.value),
        Column("airline", "Airline", lambda line: line[2].airline),
        Column("tail", "Tail", lambda line: line[2].tail, render=_tail),
        Column("campaign", "Campaign", lambda line: line[2].campaign, render=_campaign),
        Column("content", "Item", lambda line: line[2].content),
        Column("word", "Reason", lambda line: line[2].reason),
        Column("error_code", "Error code", lambda line: line[2].code),
        Column(
            "error", "Error", lambda line: line[2].text, label="Problem",
            css="what", header_css="", render=_what,
        ),
        Column("what_to_do", "What to do", lambda line: line[0].cause.next_step),
        Column("held", "Loaded", css="num", render=_held),
        Column(
            "exhibition_starts", "Exhibition starts", lambda line: line[1].load.campaign.exhibition_starts,
            label="Exhibition", render=template_cell("fleet/attention/exhibition_cell.html"),
        ),
        Column("as_of", "As of", lambda line: line[1].load.as_of, css="num", render=_as_of),
        Column(
            "acknowledged_by", "Acknowledged by", lambda line: line[3].who if line[3] else "", label="Acknowledged by",
            css="seen", header_css="", render=template_cell("fleet/attention/seen_cell.html"),
        ),
        Column("acknowledged_at", "Acknowledged at", lambda line: line[3].at if line[3] else None),
        Column("note", "Note", lambda line: line[3].note if line[3] else ""),
    ),
)  # fmt: skip


def iter_lines(groups: Sequence[IssueGroup]) -> Iterator[Line]:
    return (
        (group, issue, finding, acknowledgement)
        for group in groups
        for issue, findings, acknowledgement in group.rows
        for finding in findings
    )
