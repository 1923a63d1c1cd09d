"""Template tags of state bars. They use attributes, not inline styles; `live/live-page.js` updates them."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from fleet.pages import bars, cells
from fleet.state.precedence import AT_RISK
from fleet.stats.rollup import COUNTED_STATES, Rollup

register = template.Library()

STATES: Final = (*COUNTED_STATES, AT_RISK)
PLAIN: Final = ("complete", "pending")
ALWAYS: Final = ("failed", "complete")  # shown even without loads


@register.simple_tag
def segments(sums: Rollup) -> SafeString:
    """Render a bar of loads by state. It is hidden from screen readers, so show labels and counts beside it."""
    parts = bars.segments({word: getattr(sums, word) for word in bars.STATE_ORDER})
    rects = format_html_join(
        "",
        '<rect data-state="{}"{} x="{}%" width="{}%"/>',
        ((part.state, _pattern(part.state), f"{part.start:g}", f"{part.width:g}") for part in parts),
    )
    return format_html(
        '<svg class="parts states" data-field="loads" data-as="segments" aria-hidden="true">{}</svg>', rects
    )


def _pattern(word: str) -> SafeString:
    """Return the fill pattern, so that states differ without colour; plain states have none."""
    return format_html(' fill="url(#p-{})"', word) if word not in PLAIN else SafeString("")


@register.inclusion_tag("components/state_bar.html")
def readiness(sums: Rollup, address: str) -> dict[str, Any]:
    """Render the bar with labels and counts, each a link to its rows at `address`."""
    start = f"{address}{'&' if '?' in address else '?'}state="
    counts = [(word, label, count, f"{start}{word}", word in ALWAYS) for word, label, count in counted(sums)]
    return {"sums": sums, "counts": counts}


@register.simple_tag
def tail_states(sums: Rollup) -> SafeString:
    """Render how many tails are in each state."""
    return mark_safe(cells.tail_states(sums))  # noqa: S308  (words of our own and numbers)


register.filter("state_label", bars.state_label)


@register.simple_tag
def counted(sums: Rollup) -> list[tuple[str, str, int]]:
    """Return state, label and number of loads for each state and for `at_risk`."""
    return [(word, bars.state_label(word), getattr(sums, word)) for word in STATES]
