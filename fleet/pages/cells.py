"""Cells shared by tables of loads. Pure; all text goes through `escape`."""

from __future__ import annotations

from html import escape
from typing import Any, Final
from urllib.parse import quote

from fleet.models import LoadFigures, Transfer
from fleet.pages import bars
from fleet.stats.rollup import COUNTED_STATES, Rollup
from ifeportal import formatting
from ifeportal.tables.cells import age, figure, figure_text, held, labelled
from loader.errors import find_error_kind

SAFE: Final = "!$&'()*+,;=/~:@"  # characters that Django's `reverse` does not quote


def row_url(start: str, name: str) -> str:
    """Return the URL of a tail or campaign, escaped for an attribute."""
    return escape(f"{start}{quote(name, SAFE)}/")


def state(load: LoadFigures, context: object) -> str:
    word = load.state
    risk = "" if load.at_risk else " hidden"
    return (
        f'<span class="state" data-field="state" data-as="state" data-state="{word}">{word}</span>'
        f'<span data-show="at_risk"{risk}> <span class="badge warn state" data-state="at_risk">at risk</span></span>'
    )


def tail_states(sums: Rollup) -> str:
    """Render how many tails are in each state: a campaign as a whole is not in the state of one of its tails."""
    counts = (
        f'<span data-show="{word}"{"" if getattr(sums, word) else " hidden"}>'
        f'<span class="state" data-state="{word}">{figure(getattr(sums, word), word, "count")} {word}</span> </span>'
        for word in COUNTED_STATES
    )
    return "".join(counts)


def progress(load: LoadFigures, context: object) -> str:
    """Render a bar of complete items, loaded bytes and failed items."""
    percent = load.percent
    done, flight, lost = bars.parts(percent, load.items_done, load.items_failed, load.items_total)
    unknown = " unknown" if percent is None else ""
    return (
        f'<div class="gauge"><svg class="parts{unknown}" data-field="percent" data-as="parts" aria-hidden="true">'
        f'<rect class="done" width="{done}%"/>'
        f'<rect class="flight" fill="url(#p-loading)" x="{done}%" width="{flight}%"/>'
        f'<rect class="lost" fill="url(#p-failed)" x="{100 - lost}%" width="{lost}%"/></svg>'
        f"{figure(percent, 'percent', 'percent')}</div>"
    )


def items(load: LoadFigures, context: object) -> str:
    failed = "" if load.items_failed else " hidden"
    return (
        f'<span class="lead">Items</span> <span class="bad-count" data-show="items_failed"{failed}>'
        f"{figure(load.items_failed, 'items_failed', 'count')} failed</span> "
        f"{figure(load.items_done, 'items_done', 'count')} of {figure(load.items_total, 'items_total', 'count')}"
    )


def bytes_held(load: LoadFigures, context: object) -> str:
    return labelled("Loaded", held(load.bytes_done, load.bytes_total))


def rate(load: LoadFigures, context: object) -> str:
    return labelled("Rate", figure(load.rate_bps, "rate_bps", "rate"))


def effective_rate(load: LoadFigures, context: object) -> str:
    return labelled("Effective", figure(load.effective_bps, "effective_bps", "rate"))


def time_left(load: LoadFigures, context: object) -> str:
    text = formatting.band(load.eta_seconds, load.eta_latest_seconds)
    return labelled("Left", figure_text(text, "eta_seconds", "band"))


def as_of(row: Any, context: Any) -> str:
    return labelled("As of", age(row.as_of, context["now"], "as_of"))


def tail_link(name: str, start: str, campaign: str, part: str = "") -> str:
    """Link to a tail's page for a campaign, and to a section; `start` is the URL prefix of the airline's tails."""
    fragment = f"#{part}" if part else ""
    return f'<a href="{row_url(start, name)}?campaign={quote(campaign, "")}{fragment}">{escape(name)}</a>'


def error_row(row: LoadFigures | Transfer, across: int) -> str:
    """Render the error of a load or transfer across the columns: item, code, text and advice."""
    hidden = "" if row.error or row.error_code else " hidden"
    item = f"{_error_field('error_content', row.error_content, 'b')} " if isinstance(row, LoadFigures) else ""
    code = _error_field("error_code", row.error_code, 'span class="code"')
    text = _error_field("error", row.error, 'span class="text"')
    return (
        f'<tr role="row" class="fault-row" data-show="error error_code"{hidden}><td role="cell" colspan="{across}">'
        f'<div class="fault{" past" if _is_past(row) else ""}">{item}<span data-refresh>{code}</span> {text}'
        f"{_error_cut(row)}{_error_advice(row)}</div></td></tr>"
    )


def _error_field(field: str, value: str, tag: str) -> str:
    return f'<{tag} data-field="{field}" data-as="text">{escape(value)}</{tag.partition(" ")[0]}>'


def _is_past(row: LoadFigures | Transfer) -> bool:
    return isinstance(row, Transfer) and row.error_past


def _error_cut(row: LoadFigures | Transfer) -> str:
    return ' <span class="badge">truncated to 4 KiB</span>' if isinstance(row, Transfer) and row.error_cut else ""


def _error_advice(row: LoadFigures | Transfer) -> str:
    if _is_past(row):
        return ' <span class="badge">resolved: the item succeeded later</span>'
    known = find_error_kind(row.error_code)
    if not known:
        return ""
    sentence = "" if row.error else f"{escape(known.sentence)} "
    return f' <span class="advice">{sentence}<b>What to do:</b> {escape(known.advice)}</span>'
