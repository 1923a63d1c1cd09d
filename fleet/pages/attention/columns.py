"""Table of loads that need attention: one row per load on the page, one per finding in the file. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from django.db.models import QuerySet
from django.urls import reverse

from fleet.attention.diagnosis import CauseKind, LikelyCause
from fleet.attention.queries import CauseGroup, LoadFindings, iter_findings
from fleet.models import AttentionFinding, Load
from fleet.pages.cells import as_of, tail_link
from fleet.pages.risk import risk_sentence
from ifeportal.tables.cells import age, figure, labelled
from ifeportal.tables.columns import Column, Table, template_cell

Line = tuple[LikelyCause, AttentionFinding]


def _tail(row: LoadFindings, context: Any) -> str:
    load = row.load
    start = reverse("tail", args=[load.tail.airline.name, "-"])[:-2]
    return tail_link(load.tail.name, start, load.campaign.name, "items")


def _campaign(row: LoadFindings, context: Any) -> str:
    campaign = row.load.campaign
    return f'<a href="{escape(campaign.get_absolute_url())}">{escape(campaign.name)}</a>'


def _held(row: LoadFindings, context: Any) -> str:
    return labelled("Loaded", figure(row.load.percent, "percent", "percent"))


def _as_of(row: LoadFindings, context: Any) -> str:
    return as_of(row.load, context)


def _what(row: LoadFindings, context: Any) -> str:
    """List the first findings of the load and the number of others."""
    shown = [_finding(each, row.load, context) for each in row.findings]
    if row.more:
        shown.append(f'<div class="muted">{row.more:,} more items</div>')
    return "".join(shown)


def _finding(finding: AttentionFinding, load: Load, context: Any) -> str:
    content = f"<b>{escape(finding.content)}</b>" if finding.content else ""
    code = f'<span class="code">{escape(finding.code)}</span>' if finding.code and not context["cause"].code else ""
    parts = (content, code, _finding_text(finding, load, context["now"]))
    return f"<div>{' '.join(part for part in parts if part)}</div>"


def _finding_text(finding: AttentionFinding, load: Load, now: datetime) -> str:
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


def _acknowledged(name: str, default: object) -> Callable[[Line], object]:
    """Return the value of a column of the acknowledgement; `default` without one."""
    return lambda line: getattr(line[1].acknowledgement, name, default)


# One row per load of a group on the page, one per finding in the file.
ISSUES: Final = Table(
    "attention",
    (
        Column("cause", "Likely cause", lambda line: line[0].kind.value),
        Column("airline", "Airline", lambda line: line[1].airline.name),
        Column("tail", "Tail", lambda line: line[1].tail.name, render=_tail),
        Column("campaign", "Campaign", lambda line: line[1].load.campaign.name, render=_campaign),
        Column("content", "Item", lambda line: line[1].content),
        Column("word", "Reason", lambda line: line[1].reason),
        Column("error_code", "Error code", lambda line: line[1].code),
        Column(
            "error", "Error", lambda line: line[1].text, label="Problem",
            css="what", header_css="", render=_what,
        ),
        Column("what_to_do", "What to do", lambda line: line[0].next_step),
        Column("held", "Loaded", css="num", render=_held),
        Column(
            "exhibition_starts", "Exhibition starts", lambda line: line[1].load.campaign.exhibition_starts,
            label="Exhibition", render=template_cell("fleet/attention/exhibition_cell.html"),
        ),
        Column("as_of", "As of", lambda line: line[1].load.as_of, css="num", render=_as_of),
        Column(
            "acknowledged_by", "Acknowledged by", _acknowledged("who", ""), label="Acknowledged by",
            css="seen", header_css="", render=template_cell("fleet/attention/seen_cell.html"),
        ),
        Column("acknowledged_at", "Acknowledged at", _acknowledged("at", None)),
        Column("note", "Note", _acknowledged("note", "")),
    ),
)  # fmt: skip


def iter_lines(groups: Sequence[CauseGroup], findings: QuerySet[AttentionFinding]) -> Iterator[Line]:
    """Return the lines of the file: one query a cause."""
    return ((group.cause, row) for group in groups for row in iter_findings(findings, group.cause.digest))
