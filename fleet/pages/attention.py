"""The page of loads that need attention in the user's airlines, and the form that acknowledges them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from fleet.attention.acknowledgements import acknowledge, withdraw
from fleet.attention.diagnosis import CauseKind, Finding
from fleet.attention.queries import REASONS, Issue, IssueGroup, group_issues, list_issues
from fleet.models import Acknowledgement, Load
from fleet.pages import freshness
from fleet.pages.cells import as_of, tail_link
from ifeportal.access import Role
from ifeportal.audit import Actor
from ifeportal.live.feed import current_rev
from ifeportal.models import Airline
from ifeportal.tables.cells import figure, labelled
from ifeportal.tables.columns import Column, Table, template_cell
from ifeportal.tables.export import export
from ifeportal.tables.query import SEARCH_LIMIT
from ifeportal.web.responses import render_page

GROUPS_A_PAGE: Final = 12
LOADS_LIMIT: Final = 5_000  # beyond, something is wrong with all of them, and the page says that it is cut
LOADS_AT_ONCE: Final = 1_000  # acknowledged by one form
ID_DIGITS: Final = 18
NOTE_LIMIT: Final = 1_000
FILTER_PARAMETERS: Final = ("airline", "kind", "q", "acknowledged")
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
    return labelled("Held", figure(row[0].load.percent, "percent", "percent"))


def _as_of(row: Row, context: Any) -> str:
    return as_of(row[0].load, context)


# On the page: rows are those of a group, a load each; in the file: a line for each thing that is wrong.
ISSUES: Final = Table(
    "attention",
    (
        Column("cause", "Likely cause", lambda line: line[0].cause.kind.value),
        Column("airline", "Airline", lambda line: line[2].airline),
        Column("tail", "Tail", lambda line: line[2].tail, render=_tail),
        Column("campaign", "Campaign", lambda line: line[2].campaign, render=_campaign),
        Column("content", "Item", lambda line: line[2].content),
        Column("word", "What for", lambda line: line[2].reason),
        Column("error_code", "Code", lambda line: line[2].code),
        Column(
            "error", "Error", lambda line: line[2].text, label="What is wrong",
            css="what", header_css="", render=template_cell("fleet/attention/what_cell.html"),
        ),
        Column("what_to_do", "What to do", lambda line: line[0].cause.next_step),
        Column("held", "Held", css="num", render=_held),
        Column(
            "exhibition_starts", "Exhibition starts", lambda line: line[1].load.campaign.exhibition_starts,
            label="Exhibition", render=template_cell("fleet/attention/exhibition_cell.html"),
        ),
        Column("as_of", "As of", lambda line: line[1].load.as_of, css="num", render=_as_of),
        Column(
            "acknowledged_by", "Acknowledged by", lambda line: line[3].who if line[3] else "", label="Seen to by",
            css="seen", header_css="", render=template_cell("fleet/attention/seen_cell.html"),
        ),
        Column("acknowledged_at", "Acknowledged at", lambda line: line[3].at if line[3] else None),
        Column("note", "Note", lambda line: line[3].note if line[3] else ""),
    ),
)  # fmt: skip


@never_cache
@require_safe
def attention(request: HttpRequest) -> HttpResponseBase:
    """Everything that failed, stands, is silent, at risk or contradicts itself, under its likeliest cause."""
    rev = current_rev()
    now = timezone.now()
    airlines = Airline.objects.visible_to(request.user)
    wanted = {name: request.GET.get(name, "").replace("\0", "").strip()[:SEARCH_LIMIT] for name in FILTER_PARAMETERS}
    loads = Load.objects.visible_to(request.user)
    if wanted["airline"]:
        loads = loads.filter(tail__airline__name=wanted["airline"])
    found = list_issues(loads, LOADS_LIMIT)
    every = group_issues(found)
    chosen = [group for group in every if _is_wanted(group, wanted)]
    shown = chosen if wanted["acknowledged"] else [group for group in chosen if group.is_open]
    file = export(request, ISSUES.with_rows(_lines(shown)))
    if file:
        return file
    return render_page(
        request,
        "fleet/attention.html",
        {
            "rev": rev,
            "issues_table": ISSUES,
            "airlines": airlines,
            "away": freshness.store_outage(list(freshness.load_freshness(airlines, now).values())),
            "wanted": wanted,
            "kinds": [(kind, sum(group.cause.kind is kind for group in every if group.is_open)) for kind in CauseKind],
            "open": sum(group.is_open for group in every),
            "open_loads": sum(trouble.is_open for trouble in found),
            "acknowledged": sum(not group.is_open for group in chosen),
            "page": Paginator(shown, GROUPS_A_PAGE).get_page(request.GET.get("page", "1")),
            "cut": len(found) == LOADS_LIMIT,
            "operated": set(Airline.objects.with_role(request.user, Role.OPERATOR).values_list("name", flat=True)),
            "query": urlencode({name: value for name, value in wanted.items() if value}),
            "note_limit": NOTE_LIMIT,
        },
    )


def _is_wanted(group: IssueGroup, wanted: dict[str, str]) -> bool:
    if wanted["kind"] and group.cause.kind != wanted["kind"]:
        return False
    search = wanted["q"].casefold()
    texts = (text for fault in group.cause.findings for text in (fault.tail, fault.campaign, fault.content, fault.code))
    return not search or any(search in text.casefold() for text in texts)


def _lines(groups: Sequence[IssueGroup]) -> Iterator[Line]:
    return (
        (group, trouble, fault, acknowledged)
        for group in groups
        for trouble, faults, acknowledged in group.rows
        for fault in faults
    )


@require_POST
def acknowledgement(request: HttpRequest) -> HttpResponse:
    """Note that somebody sees to some loads, or take that back; says what became of each."""
    word, note = request.POST.get("word", ""), request.POST.get("note", "").replace("\0", "").strip()
    loads = _loads(request)
    if word not in REASONS:
        raise Http404
    taken_back = "withdraw" in request.POST
    if not taken_back and not 0 < len(note) <= NOTE_LIMIT:
        messages.error(request, f"Write a note of at most {NOTE_LIMIT:,} characters: what is being done about it?")
    else:
        actor = Actor.of(request)
        done = sum(
            bool(withdraw(actor, load, word) if taken_back else acknowledge(actor, load, word, note)) for load in loads
        )
        left = len(loads) - done
        rest = f" {left} left as they were: they need no attention for this any more." if left else ""
        messages.success(request, f"{'Taken back' if taken_back else 'Acknowledged'}: {done} of {len(loads)}.{rest}")
    back = QueryDict(request.POST.get("query", "")[: SEARCH_LIMIT * len(FILTER_PARAMETERS)])
    kept = urlencode({name: back[name] for name in FILTER_PARAMETERS if name in back})
    return redirect(f"{reverse('attention')}?{kept}" if kept else reverse("attention"))


def _loads(request: HttpRequest) -> list[Load]:
    """The loads of the form. Raises Http404 if the user may not see them all, PermissionDenied if not see to them."""
    texts = {text for text in request.POST.getlist("load")[:LOADS_AT_ONCE] if text.isascii() and text.isdigit()}
    numbers = {int(text) if len(text) <= ID_DIGITS else 0 for text in texts}  # no load has the id 0
    wanted = Load.objects.filter(pk__in=numbers)
    loads = list(wanted.visible_to(request.user).select_related("tail__airline", "campaign").order_by("pk"))
    if not loads or len(loads) < len(numbers):
        raise Http404
    if wanted.with_role(request.user, Role.OPERATOR).count() < len(loads):
        raise PermissionDenied("For this you need to be operator of the airline.")
    return loads
