"""Template tags of state bars. They use attributes, not inline styles; `live/live-page.js` updates them."""

from __future__ import annotations

from html import escape
from typing import Final

from django import template
from django.utils.safestring import SafeString, mark_safe

from fleet.pages import bars, cells
from fleet.state.precedence import AT_RISK
from fleet.stats.rollup import COUNTED_STATES, Rollup
from ifeportal.tables.cells import figure

register = template.Library()

STATES: Final = (*COUNTED_STATES, AT_RISK)
PLAIN: Final = ("complete", "pending")
ALWAYS: Final = ("failed", "complete")  # shown even without loads


@register.simple_tag
def readiness(sums: Rollup, address: str) -> SafeString:
    """Render the bar with labels and counts, each a link to its rows at `address`.

    In Python: the fleet page has one for each airline, and a template took half of the page's time.
    """
    start = escape(f"{address}{'&' if '?' in address else '?'}state=")
    counts = "".join(_tally(word, label, count, f"{start}{word}") for word, label, count in counted(sums))
    tallies = f'<ul class="tally-strip" aria-label="Loads by state">{counts}</ul>'
    return SafeString(f'<div class="readiness">{_segments(sums)}\n  {tallies}</div>')


@register.simple_tag
def segments(sums: Rollup) -> SafeString:
    return SafeString(_segments(sums))


def _tally(word: str, label: str, count: int, address: str) -> str:
    shown = "" if word in ALWAYS else f' data-show="{word}"{"" if count else " hidden"}'
    number = figure(count, word, "count")
    return (
        f'<li{shown}><a class="tally-of{"" if count else " none"}" href="{address}">'
        f'<b data-refresh>{number}</b><span class="state" data-state="{word}">{label}</span></a></li>'
    )


def _segments(sums: Rollup) -> str:
    """Render a bar of loads by state. It is hidden from screen readers, so show labels and counts beside it."""
    rects = "".join(
        f'<rect data-state="{word}"{_pattern(word)} x="{start:g}%" width="{width:g}%"/>'
        for word, start, width in bars.segments({word: getattr(sums, word) for word in bars.STATE_ORDER})
    )
    return f'<svg class="parts states" data-field="loads" data-as="segments" aria-hidden="true">{rects}</svg>'


def _pattern(word: str) -> str:
    """Return the fill pattern, so that states differ without colour; plain states have none."""
    return "" if word in PLAIN else f' fill="url(#p-{word})"'


@register.simple_tag
def tail_states(sums: Rollup) -> SafeString:
    """Render how many tails are in each state."""
    return mark_safe(cells.tail_states(sums))  # noqa: S308  (words of our own and numbers)


register.filter("state_label", bars.state_label)


@register.simple_tag
def counted(sums: Rollup) -> list[tuple[str, str, int]]:
    """Return state, label and number of loads for each state and for `at_risk`."""
    return [(word, bars.state_label(word), getattr(sums, word)) for word in STATES]
