"""Writes what was seen of tails: their rows, the sums of their loads, samples, and the feed, in one transaction.

The number of statements depends neither on the number of tails nor on that of objects (beyond the rows that fit a
statement). The tails' rows are locked first, in order of id, and every decision made against rows read after that, so
that two writers at once end in the same rows. Whoever else writes loads or transfers locks their tails the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Final

from django.db import transaction

from fleet import anomalies
from fleet.choices import Status
from fleet.feed import load_published, tail_published, transfer_published
from fleet.hearing import hear
from fleet.history import events
from fleet.history.events import Told, Was, of_load
from fleet.items import write_transfers
from fleet.models import Load, ProgressSample, Tail
from fleet.news import Catalog, Late, News, Object, Open
from fleet.proving import prove
from fleet.reviving import forget_objects
from fleet.state.load import LOAD_FIELDS, LoadState, judge, with_campaign_error
from fleet.state.observations import ErrorSeen
from fleet.stats import rollup
from fleet.stats.throughput import count_moved
from fleet.summing import failures, first_counted, speeds, sums
from ifeportal.bulk import among, upsert
from ifeportal.live.feed import publish
from ifeportal.models import Airline

PLACE: Final = ("tail_id", "campaign_id")
_values = attrgetter(*LOAD_FIELDS)


@dataclass(frozen=True, slots=True)
class Applied:
    """How many transfers and loads were written, and the campaigns whose sums may be others now.

    `older` names, by the id of their tail, objects that were not taken since a newer version is known.
    """

    transfers: int = 0
    loads: int = 0
    campaigns: frozenset[str] = frozenset()
    older: Mapping[int, frozenset[Object]] = field(default_factory=dict)


def apply_tails(
    airline: Airline,
    batch: Mapping[int, News],
    catalog: Catalog,
    now: datetime,
    *,
    guard: Callable[[], None] = lambda: None,
) -> Applied:
    """Write the news of these tails (by id) in one transaction, the change feed last. Tails without a row are left out.

    `guard` is called right before the feed is written; what it raises undoes everything, as any error does.
    """
    with transaction.atomic():
        tails = lock_tails(airline, batch)
        loads = _opened(tails, batch, catalog)
        transfers, late, told, arrived = write_transfers(loads, now)
        changed, late_errors, turned = _loads(loads, {row.load_id for row in transfers}, now)
        heard, holding, late_beats = hear(((tail, batch[pk]) for pk, tail in tails.items()), now)
        proved = prove(tails=holding, loads={row.pk for row in changed if row.status == Status.COMPLETE})
        anomalies.keep(airline, "status", [problem for pk in tails for problem in batch[pk].problems], now)
        touched = heard.union((row.load.tail_id for row in transfers), (row.tail_id for row in changed))
        changes = [*map(transfer_published, transfers), *map(load_published, [*changed, *proved])]
        changes += map(tail_published, _summed(touched))
        events.write([*told, *turned])
        count_moved(airline, arrived, now)
        guard()
        publish(changes)
    older: defaultdict[int, set[Object]] = defaultdict(set)
    for pk, name in late | late_errors | late_beats:
        older[pk].add(name)
    return Applied(
        transfers=len(transfers),
        loads=len(changed),
        campaigns=frozenset(load.campaign.name for load in changed),
        older={pk: frozenset(names) for pk, names in older.items()},
    )


def lock_tails(airline: Airline, pks: Collection[int]) -> dict[int, Tail]:
    """The tails by id, locked until the transaction ends. All writers take them in order: none waits in a circle."""
    rows = Tail.objects.filter(among(Tail, ["id"], ((pk,) for pk in pks))).order_by("pk").select_for_update()
    tails = {row.pk: row for row in rows}
    for row in tails.values():
        row.airline = airline
    return tails


def _summed(tails: Collection[int]) -> Collection[Tail]:
    return rollup.tails(Tail.objects.filter(among(Tail, ["id"], ((pk,) for pk in tails)))) if tails else []


def _opened(tails: Mapping[int, Tail], batch: Mapping[int, News], catalog: Catalog) -> Collection[Open]:
    """The loads of which there is news; those without a row get one."""
    wanted = {(pk, name): (pk, catalog.campaigns[name].pk) for pk in tails for name in sorted(batch[pk].campaigns)}
    if not wanted:
        return []
    found = Load.objects.filter(among(Load, PLACE, wanted.values())).order_by()
    rows = {(row.tail_id, row.campaign_id): row for row in found}
    missing = [place for place in wanted.values() if place not in rows]
    made = upsert(Load, PLACE, LOAD_FIELDS, [(*place, *LoadState()) for place in missing])
    rows |= {(tail, campaign): Load(pk=pk) for pk, tail, campaign in made}
    fresh = set(missing)
    loads = {}
    for (pk, name), place in wanted.items():
        row, campaign = rows[place], catalog.campaigns[name]
        row.tail, row.campaign = tails[pk], campaign
        stale = row.archived_at is None and row.manifest_etag != campaign.manifest_etag
        sizes = catalog.sizes[name] if campaign.items_total is not None else {}
        loads[pk, name] = Open(row, sizes, place in fresh, stale)
    for pk in tails:
        _tell(loads, pk, batch[pk])
    return loads.values()


def _tell(loads: Mapping[tuple[int, str], Open], tail: int, news: News) -> None:
    """Hand each load what is new of it."""
    for (campaign, content), progress in news.progress.items():
        if loads[tail, campaign].concerns(progress):
            loads[tail, campaign].progress[content] = progress
    for (campaign, content), error in news.errors.items():
        if loads[tail, campaign].concerns(error):
            loads[tail, campaign].errors[content] = error
    for campaign, error in news.campaign_errors.items():
        if loads[tail, campaign].concerns(error):
            loads[tail, campaign].campaign_error = error


def _loads(loads: Collection[Open], touched: Collection[int], now: datetime) -> tuple[list[Load], Late, list[Told]]:
    """Sum up the loads concerned and write those that are another now; campaign errors that came too late; turns."""
    late: Late = set()
    concerned: list[tuple[Open, LoadState, LoadState]] = []
    for load in loads:
        before, seen = LoadState._make(_values(load.row)), load.campaign_error
        if isinstance(seen, ErrorSeen) and before.error_at is not None and seen.at < before.error_at:
            late.add((load.row.tail_id, ("campaign_error", load.row.campaign.name, "")))
        state = with_campaign_error(before, seen)
        if not (load.row.pk in touched or state != before or load.fresh or load.stale):
            continue
        if load.archived:
            state = with_campaign_error(before._replace(error_etag="", error_at=None), seen)
        if load.fresh or load.stale:
            state = state._replace(manifest_etag=load.row.campaign.manifest_etag)
        concerned.append((load, before, state))
    forget_objects([load.row.pk for load, _, _ in concerned if load.archived and load.row.pk not in touched])
    written, turned = _summed_up(concerned, now)
    return written, late, turned


def _summed_up(
    concerned: Collection[tuple[Open, LoadState, LoadState]], now: datetime
) -> tuple[list[Load], list[Told]]:
    """Write the loads as their transfers have them, and a sample of those that moved. None is archived any more."""
    if not concerned:
        return [], []
    rows = [load.row for load, _, _ in concerned]
    done = sums({row.pk: row.campaign.items_total is not None for row in rows})
    failed = failures([pk for pk, each in done.items() if each.failed])
    moved = [row for row in rows if done[row.pk].bytes_done != row.bytes_done]
    rates, firsts = speeds(moved, done, now), first_counted(moved, now)
    written: list[Load] = []
    were: list[Was | None] = []
    for load, before, state in concerned:
        row = load.row
        after = judge(before, state, done[row.pk], failed.get(row.pk), now, rates.get(row.pk), firsts.get(row.pk))
        if load.fresh or load.archived or after != before:
            were.append(None if load.fresh else of_load(row))
            row.archived_at = None
            for name, value in zip(LOAD_FIELDS, after, strict=True):
                setattr(row, name, value)
            written.append(row)
    values = [(row.tail_id, row.campaign_id, *_values(row), row.archived_at) for row in written]
    upsert(Load, PLACE, [*LOAD_FIELDS, "archived_at"], values)
    samples = [ProgressSample(load=row, at=now, bytes_done=row.bytes_done) for row in moved]
    ProgressSample.objects.bulk_create(samples, ignore_conflicts=True)
    return written, events.turned_loads(zip(were, written, strict=True), now)
