"""Renders the loader's status as a table for any terminal. Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from unicodedata import combining, east_asian_width

from loader.contract.heartbeat import HeldCampaign, StoreUsage
from loader.contract.item_reports import one_line
from loader.contract.units import format_duration, format_size
from loader.monitor.events import format_items

_BAR: Final = 20
_NAME: Final = 40
_NO_CAMPAIGNS: Final = "No campaigns: the media bucket has none for this aircraft, or has not been read yet."

StatusDocument = Mapping[str, Any]


def render_status(document: StatusDocument) -> list[str]:
    """Return the lines of the table for a response to `GET /status`."""
    lines = [*_head(document), ""]
    for campaign in document["campaigns"]:
        lines += [_campaign(campaign)]
        lines += [_item(item) for item in document["items"] if item["campaign"] == campaign["campaign"]]
        lines += [""]
    if document["left_out"]:
        lines += [f"Not shown: {format_items(document['left_out'])}"]
    return lines if document["campaigns"] else [*lines, _NO_CAMPAIGNS]


def _head(document: StatusDocument) -> list[str]:
    state = " ".join(part for part in (document["state"], document["campaign"]) if part)
    reason = f" ({one_line(document['reason'])})" if document["reason"] else ""
    link, queue = document["link"], document["queue"]
    return [
        f"{document['airline']}/{document['tail']}: {state}{reason}",
        f"updated  {document['as_of']}, running since {document['started_at']}, loader {document['loader']}",
        f"link     {'up' if link['up'] else 'down'}{': ' + one_line(link['reason']) if link['reason'] else ''}",
        f"queue    {_queue(queue)}",
        *[_disk(store["path"], store["total"], store["free"]) for store in document["stores"]],
        f"total    {_counts(document)}{_speed(document)}",
    ]


def _queue(queue: StatusDocument) -> str:
    words = ["none" if queue["version"] is None else f"version {queue['version']}"]
    words += ["paused"] * bool(queue["paused"])
    words += [f"window {queue['window']}"] * bool(queue["window"])
    words += [f"limit {format_size(queue['bandwidth_limit'] or 0)}/s"] * bool(queue["bandwidth_limit"])
    return ", ".join(words)


def _disk(path: str, total: int | None, free: int | None) -> str:
    if total is None or free is None:
        return f"disk     {one_line(path)}"
    return f"disk     {one_line(path)}: {format_size(free)} free of {format_size(total)}"


def _counts(totals: StatusDocument) -> str:
    return f"{totals['items_done']} of {format_items(totals['items_total'])}, {_bytes(totals)}"


def _bytes(totals: StatusDocument) -> str:
    if totals["bytes_total"] is None:
        return "size unknown"
    return f"{format_size(totals['bytes_done'])} of {format_size(totals['bytes_total'])}, {totals['percent']} %"


def _speed(totals: StatusDocument) -> str:
    rate, left = totals["rate_bps"], totals["eta_seconds"]
    speed = "" if rate is None else f", {format_size(rate)}/s"
    return speed if left is None else f"{speed}, {format_duration(left)} left"


def _campaign(campaign: StatusDocument) -> str:
    title = f" ({one_line(campaign['title'])})" if campaign["title"] else ""
    if campaign["error_code"]:
        error = one_line(campaign["error"])
        return f"{campaign['campaign']}{title}: {campaign['status']}, {campaign['error_code']}: {error}"
    return f"{campaign['campaign']}{title}: {campaign['status']}, {_counts(campaign)}{_speed(campaign)}"


def _item(item: StatusDocument) -> str:
    name = _fit(item["content"])
    full = _BAR * item["percent"] // 100
    word = "verified" if item["verified"] and item["status"] == "complete" else item["status"]
    line = f"  {name} [{'#' * full}{'.' * (_BAR - full)}] {item['percent']:3} % {word:8}"
    line += f" {format_size(item['bytes_total']):>7}{_speed(item)}"
    if item["error_code"]:
        line += f"  {item['error_code']}: {one_line(item['error'])}"
    return line + (f"; retry at {item['retry_at'][11:19]} UTC" if item["retry_at"] else "")


def _fit(name: str) -> str:
    """Cut or pad a name to the width of its column."""
    if _display_width(name) > _NAME:
        while _display_width(name) > _NAME - 3:
            name = name[:-1]
        name += "..."
    return name + " " * (_NAME - _display_width(name))


def _display_width(text: str) -> int:
    """Return the columns on a terminal: wide East Asian characters take two, combining ones none."""
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def render_disk(space: StoreUsage, campaigns: list[HeldCampaign]) -> list[str]:
    """Return the lines for a content directory while no loader runs: its disk and its complete campaigns."""
    lines = [_disk(space.path, space.total, space.free)]
    for campaign in campaigns:
        facts = [] if campaign.items is None else [format_items(campaign.items)]
        facts += [] if campaign.bytes is None else [format_size(campaign.bytes)]
        facts += ["verified" if campaign.verified else "size-checked"]
        lines.append(f"complete {campaign.campaign}: {', '.join(facts)}")
    return lines
