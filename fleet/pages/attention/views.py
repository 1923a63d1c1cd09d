"""Views of the page of loads that need attention, and of the form that acknowledges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from fleet.attention.acknowledgements import NOTE_LIMIT, acknowledge, withdraw
from fleet.attention.queries import REASONS
from fleet.models import Load
from fleet.pages.attention.columns import ISSUES, iter_lines
from fleet.pages.attention.page import FILTER_PARAMETERS, LOADS_AT_ONCE, AttentionQuery, load_causes, load_page
from ifeportal.access import Role
from ifeportal.audit import Actor
from ifeportal.exports.responses import export
from ifeportal.formatting import quantity
from ifeportal.live.feed import current_rev
from ifeportal.tables.search import SEARCH_LIMIT
from ifeportal.web.responses import compressed, render_page

ID_DIGITS: Final = 18


@never_cache
@require_safe
@compressed
def attention(request: HttpRequest) -> HttpResponseBase:
    """Show loads that need attention, grouped by likely cause, or export them."""
    rev = current_rev()
    wanted = AttentionQuery.parse(request.GET)
    causes = load_causes(request.user, wanted)
    file = export(request, ISSUES.with_rows(iter_lines(causes.shown, causes.findings)))
    if file:
        return file
    page = load_page(request.user, wanted, causes, request.GET.get("page", "1"), timezone.now())
    return render_page(request, "fleet/attention.html", {"rev": rev, **vars(page)})


@require_POST
def acknowledgement(request: HttpRequest) -> HttpResponse:
    """Acknowledge loads, or withdraw their acknowledgements, and say how many changed."""
    reason, note = request.POST.get("word", ""), request.POST.get("note", "").replace("\0", "").strip()
    loads = _loads(request)
    if reason not in REASONS:
        raise Http404
    actor, is_withdrawal = Actor.of(request), "withdraw" in request.POST
    if is_withdrawal:
        done = sum(withdraw(actor, load, reason) for load in loads)
        messages.success(
            request, _result(f"Withdrew {done} of {quantity(len(loads), 'acknowledgement')}.", loads, done)
        )
    elif not 0 < len(note) <= NOTE_LIMIT:
        messages.error(
            request, f"Enter a note of 1 to {NOTE_LIMIT:,} characters that says what is being done about it."
        )
    else:
        done = sum(acknowledge(actor, load, reason, note) is not None for load in loads)
        messages.success(request, _result(f"Acknowledged {done} of {quantity(len(loads), 'load')}.", loads, done))
    back = QueryDict(request.POST.get("query", "")[: SEARCH_LIMIT * len(FILTER_PARAMETERS)])
    query = urlencode({name: back[name] for name in FILTER_PARAMETERS if name in back})
    return redirect(f"{reverse('attention')}?{query}" if query else reverse("attention"))


def _result(sentence: str, loads: Sequence[Load], done: int) -> str:
    unchanged = len(loads) - done
    return f"{sentence} {unchanged:,} no longer needed attention." if unchanged else sentence


def _loads(request: HttpRequest) -> list[Load]:
    """Return the loads of the form.

    Raises Http404 if the user may not see them all, PermissionDenied if the user may not acknowledge them all.
    """
    texts = {text for text in request.POST.getlist("load")[:LOADS_AT_ONCE] if text.isascii() and text.isdigit()}
    numbers = {int(text) if len(text) <= ID_DIGITS else 0 for text in texts}  # no load has the id 0
    rows = Load.objects.filter(pk__in=numbers)
    loads = list(rows.visible_to(request.user).select_related("tail__airline", "campaign").order_by("pk"))
    if not loads or len(loads) < len(numbers):
        raise Http404
    if rows.with_role(request.user, Role.OPERATOR).count() < len(loads):
        raise PermissionDenied("This needs the operator role for the airline.")
    return loads
