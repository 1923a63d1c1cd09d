"""Renders the loader's status as a table for any terminal. Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from unicodedata import combining, east_asian_width

from loader.contract.heartbeat import HeldCampaign, StoreUsage
from loader.contract.item_reports import one_line
from loader.contract.units import format_duration, format_size

_BAR: Final = 20
_NAME: Final = 40

StatusDocument = Mapping[str, Any]


def render_status(document: StatusDocument) -> list[str]:
    """The whole table, from what `/status` answers."""
    shown = [*_head(document), ""]
    for campaign in document["campaigns"]:
        shown += [_campaign(campaign)]
        shown += [_item(item) for item in document["items"] if item["campaign"] == campaign["campaign"]]
        shown += [""]
    if document["left_out"]:
        shown += [f"and {document['left_out']} items more"]
    return shown if document["campaigns"] else [*shown, "No campaign is in the plan."]


def _head(document: StatusDocument) -> list[str]:
    state = " ".join(part for part in (document["state"], document["campaign"]) if part)
    reason = f" ({one_line(document['reason'])})" if document["reason"] else ""
    link, queue = document["link"], document["queue"]
    return [
        f"{document['airline']}/{document['tail']}: {state}{reason}",
        f"as of    {document['as_of']}, running since {document['started_at']}, loader {document['loader']}",
        f"link     {'up' if link['up'] else 'down'}{': ' + one_line(link['reason']) if link['reason'] else ''}",
        f"queue    {_queue(queue)}",
        *[_disk(store["path"], store["total"], store["free"]) for store in document["stores"]],
        f"in all   {document['items_done']} of {document['items_total']} items, {_bytes(document)}{_speed(document)}",
    ]


def _queue(queue: StatusDocument) -> str:
    words = ["none" if queue["version"] is None else f"version {queue['version']}"]
    words += ["paused"] * bool(queue["paused"])
    words += [f"only {queue['window']}"] * bool(queue["window"])
    words += [f"at most {format_size(queue['bandwidth_limit'] or 0)}/s"] * bool(queue["bandwidth_limit"])
    return ", ".join(words)


def _disk(path: str, total: int | None, free: int | None) -> str:
    if total is None or free is None:
        return f"disk     {one_line(path)}"
    return f"disk     {one_line(path)}: {format_size(free)} free of {format_size(total)}"


def _bytes(totals: StatusDocument) -> str:
    if totals["bytes_total"] is None:
        return "size unknown"
    return f"{format_size(totals['bytes_done'])} of {format_size(totals['bytes_total'])}, {totals['percent']} %"


def _speed(totals: StatusDocument) -> str:
    """Rate and the time that is left, where somebody can tell."""
    rate, left = totals["rate_bps"], totals["eta_seconds"]
    speed = "" if rate is None else f", {format_size(rate)}/s"
    return speed if left is None else f"{speed}, {format_duration(left)} left"


def _campaign(campaign: StatusDocument) -> str:
    title = f" ({one_line(campaign['title'])})" if campaign["title"] else ""
    if campaign["error_code"]:
        error = one_line(campaign["error"])
        return f"{campaign['campaign']}{title}: {campaign['status']}, {campaign['error_code']}: {error}"
    counts = f"{campaign['items_done']} of {campaign['items_total']} items, {_bytes(campaign)}"
    return f"{campaign['campaign']}{title}: {campaign['status']}, {counts}{_speed(campaign)}"


def _item(item: StatusDocument) -> str:
    name = _fit(item["content"])
    full = _BAR * item["percent"] // 100
    word = "verified" if item["verified"] and item["status"] == "complete" else item["status"]
    line = f"  {name} [{'#' * full}{'.' * (_BAR - full)}] {item['percent']:3} % {word:8}"
    line += f" {format_size(item['bytes_total']):>7}{_speed(item)}"
    if item["error_code"]:
        line += f"  {item['error_code']}: {one_line(item['error'])}"
    return line + (f"; again at {item['retry_at'][11:19]} UTC" if item["retry_at"] else "")


def _fit(name: str) -> str:
    """In as many columns as a name has."""
    if _display_width(name) > _NAME:
        while _display_width(name) > _NAME - 3:
            name = name[:-1]
        name += "..."
    return name + " " * (_NAME - _display_width(name))


def _display_width(text: str) -> int:
    """On a terminal: signs of East Asia take two, accents by themselves none."""
    return sum(0 if combining(sign) else 2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def render_disk(space: StoreUsage, held: list[HeldCampaign]) -> list[str]:
    """What a content directory holds while no loader runs."""
    shown = [_disk(space.path, space.total, space.free)]
    for one in held:
        size = "" if one.bytes is None else f", {format_size(one.bytes)}"
        items = "" if one.items is None else f"{one.items} items"
        shown.append(f"whole    {one.campaign}: {items}{size}, {'verified' if one.verified else 'size-checked'}")
    return shown
