"""The status of a loader as a table that a technician can read on any terminal. Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from unicodedata import combining, east_asian_width

from loader.contract.heartbeat import HeldCampaign, StoreUsage
from loader.contract.item_reports import one_line
from loader.contract.units import format_duration, format_size

_BAR: Final = 20
_NAME: Final = 40

Told = Mapping[str, Any]


def lines(told: Told) -> list[str]:
    """The whole table, from what `/status` answers."""
    shown = [*_head(told), ""]
    for campaign in told["campaigns"]:
        shown += [_campaign(campaign)]
        shown += [_item(item) for item in told["items"] if item["campaign"] == campaign["campaign"]]
        shown += [""]
    if told["left_out"]:
        shown += [f"and {told['left_out']} items more"]
    return shown if told["campaigns"] else [*shown, "No campaign is in the plan."]


def _head(told: Told) -> list[str]:
    state = " ".join(part for part in (told["state"], told["campaign"]) if part)
    reason = f" ({one_line(told['reason'])})" if told["reason"] else ""
    link, queue = told["link"], told["queue"]
    return [
        f"{told['airline']}/{told['tail']}: {state}{reason}",
        f"as of    {told['as_of']}, running since {told['started_at']}, loader {told['loader']}",
        f"link     {'up' if link['up'] else 'down'}{': ' + one_line(link['reason']) if link['reason'] else ''}",
        f"queue    {_queue(queue)}",
        *[_disk(store["path"], store["total"], store["free"]) for store in told["stores"]],
        f"in all   {told['items_done']} of {told['items_total']} items, {_bytes(told)}{_speed(told)}",
    ]


def _queue(queue: Told) -> str:
    words = ["none" if queue["version"] is None else f"version {queue['version']}"]
    words += ["paused"] * bool(queue["paused"])
    words += [f"only {queue['window']}"] * bool(queue["window"])
    words += [f"at most {format_size(queue['bandwidth_limit'] or 0)}/s"] * bool(queue["bandwidth_limit"])
    return ", ".join(words)


def _disk(path: str, total: int | None, free: int | None) -> str:
    if total is None or free is None:
        return f"disk     {one_line(path)}"
    return f"disk     {one_line(path)}: {format_size(free)} free of {format_size(total)}"


def _bytes(told: Told) -> str:
    if told["bytes_total"] is None:
        return "size unknown"
    return f"{format_size(told['bytes_done'])} of {format_size(told['bytes_total'])}, {told['percent']} %"


def _speed(told: Told) -> str:
    """Rate and the time that is left, where somebody can tell."""
    rate, left = told["rate_bps"], told["eta_seconds"]
    speed = "" if rate is None else f", {format_size(rate)}/s"
    return speed if left is None else f"{speed}, {format_duration(left)} left"


def _campaign(told: Told) -> str:
    title = f" ({one_line(told['title'])})" if told["title"] else ""
    if told["error_code"]:
        return f"{told['campaign']}{title}: {told['status']}, {told['error_code']}: {one_line(told['error'])}"
    counts = f"{told['items_done']} of {told['items_total']} items, {_bytes(told)}"
    return f"{told['campaign']}{title}: {told['status']}, {counts}{_speed(told)}"


def _item(told: Told) -> str:
    name = _fitted(told["content"])
    full = _BAR * told["percent"] // 100
    word = "verified" if told["verified"] and told["status"] == "complete" else told["status"]
    line = f"  {name} [{'#' * full}{'.' * (_BAR - full)}] {told['percent']:3} % {word:8}"
    line += f" {format_size(told['bytes_total']):>7}{_speed(told)}"
    if told["error_code"]:
        line += f"  {told['error_code']}: {one_line(told['error'])}"
    return line + (f"; again at {told['retry_at'][11:19]} UTC" if told["retry_at"] else "")


def _fitted(name: str) -> str:
    """In as many columns as a name has."""
    if _columns(name) > _NAME:
        while _columns(name) > _NAME - 3:
            name = name[:-1]
        name += "..."
    return name + " " * (_NAME - _columns(name))


def _columns(text: str) -> int:
    """On a terminal: signs of East Asia take two, accents by themselves none."""
    return sum(0 if combining(sign) else 2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def at_rest(space: StoreUsage, held: list[HeldCampaign]) -> list[str]:
    """What a content directory holds while no loader runs."""
    shown = [_disk(space.path, space.total, space.free)]
    for one in held:
        size = "" if one.bytes is None else f", {format_size(one.bytes)}"
        items = "" if one.items is None else f"{one.items} items"
        shown.append(f"whole    {one.campaign}: {items}{size}, {'verified' if one.verified else 'size-checked'}")
    return shown
