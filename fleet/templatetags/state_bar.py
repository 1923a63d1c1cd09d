"""Template tags of state bars, drawn with attributes alone; `live/live-page.js` updates them."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from fleet.pages import bars
from fleet.state.precedence import AT_RISK
from fleet.stats.rollup import COUNTED_STATES, Rollup

register = template.Library()

STATES: Final = (*COUNTED_STATES, AT_RISK)
PLAIN: Final = ("complete", "pending")
ALWAYS: Final = ("failed", "complete")  # said even where there are none


@register.simple_tag
def segments(sums: Rollup) -> SafeString:
    """A bar of how many loads are in each state. Words and counts have to stand beside it."""
    found = bars.segments({word: getattr(sums, word) for word in bars.STATE_ORDER})
    rects = format_html_join(
        "",
        '<rect data-state="{}"{} x="{}%" width="{}%"/>',
        ((part.state, _pattern(part.state), f"{part.start:g}", f"{part.width:g}") for part in found),
    )
    return format_html(
        '<svg class="parts states" data-field="loads" data-as="segments" aria-hidden="true">{}</svg>', rects
    )


def _pattern(word: str) -> SafeString:
    """What it is filled with, besides its colour; what is complete or pending is plain."""
    return format_html(' fill="url(#p-{})"', word) if word not in PLAIN else SafeString("")


@register.inclusion_tag("components/state_bar.html")
def readiness(sums: Rollup, address: str) -> dict[str, Any]:
    """The bar of states with the words and counts of its segments, each a link to the rows it counts at `address`."""
    start = f"{address}{'&' if '?' in address else '?'}state="
    counts = [(word, label, count, f"{start}{word}", word in ALWAYS) for word, label, count in counted(sums)]
    return {"sums": sums, "counts": counts}


register.filter("state_label", bars.state_label)


@register.simple_tag
def counted(sums: Rollup) -> list[tuple[str, str, int]]:
    """Each state with its word and how many loads are in it, and how many are at risk."""
    return [(word, bars.state_label(word), getattr(sums, word)) for word in STATES]
