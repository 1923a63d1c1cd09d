"""Writes what was seen of one tail: its rows, the sums of its loads, samples, and the feed, in one transaction.

The number of statements does not depend on the number of objects (beyond the rows that fit a statement). The tail's row
is locked first and every decision made against rows read after that, so that two writers at once end in the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

from django.db import transaction
from django.db.models import Count, Max, Min, OuterRef, Q, Subquery

from campaigns.models import Campaign
from fleet import anomalies, rates, rollup
from fleet.models import Load, Measured, ProgressSample, Status, Tail, Transfer
from fleet.reconcile import HeartbeatSeen, Problem
from fleet.states import load_state, tail_state, transfer_state
from fleet.transitions import (
    Again,
    ErrorSeen,
    Gone,
    ItemError,
    LoadState,
    ProgressSeen,
    Sums,
    TransferState,
    advance,
    judge,
    with_campaign_error,
)
from ifeportal.live.feed import Published, publish
from ifeportal.models import Airline

TRANSFER_FIELDS: Final = tuple(each.name for each in fields(TransferState))
LOAD_FIELDS: Final = tuple(each.name for each in fields(LoadState))
HEARD_FIELDS: Final = (
    "heard_at",
    "heartbeat_etag",
    "heartbeat_at",
    "loader_version",
    "loader_state",
    "loader_reason",
    "rate_bps",
    "stores",
    "held",
)
NAMES_A_QUERY: Final = 500  # above, the whole load is read: SQLite takes only so many parameters
Item = tuple[str, str]
Object = tuple[Literal["progress", "error", "campaign_error", "heartbeat"], str, str]
R = TypeVar("R", bound=Measured)


@dataclass(slots=True)
class News:
    """What is new of one tail. Items are (campaign, content); `dirty` are campaigns whose manifest is another now,
    `problems` what the bytes of its objects said that could not be understood."""

    progress: dict[Item, ProgressSeen | Again | Gone] = field(default_factory=dict)
    errors: dict[Item, ErrorSeen | Again | Gone] = field(default_factory=dict)
    campaign_errors: dict[str, ErrorSeen | Again | Gone] = field(default_factory=dict)
    heartbeat: HeartbeatSeen | Again | Gone | None = None
    heard_at: datetime | None = None
    dirty: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    @property
    def campaigns(self) -> set[str]:
        """Every campaign of which there is news."""
        named = {campaign for campaign, _ in (*self.progress, *self.errors)}
        return named | self.campaign_errors.keys() | self.dirty


@dataclass(frozen=True, slots=True)
class Catalog:
    """What should fly, as far as it is needed: campaigns by name, and the listed items of each (name to bytes)."""

    campaigns: Mapping[str, Campaign]
    sizes: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Applied:
    """What was written: transfers, loads, and the campaigns whose sums may be others now.

    `older` names, by tail, objects that were not taken since a newer version is known.
    """

    transfers: int = 0
    loads: int = 0
    campaigns: frozenset[str] = frozenset()
    older: Mapping[int, frozenset[Object]] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """A load that is being worked on. `whole`: every item is held against the manifest, not only those with news."""

    row: Load
    fresh: bool
    whole: bool
    sizes: Mapping[str, int]


def apply_tails(
    airline: Airline,
    batch: Mapping[int, News],
    catalog: Catalog,
    now: datetime,
    *,
    guard: Callable[[], None] = lambda: None,
) -> Applied:
    """Write what is new of some tails, by id; those that were deleted meanwhile are left out."""
    done = Applied()
    for tail_id, news in batch.items():
        with suppress(Tail.DoesNotExist):
            one = _apply_tail(airline, tail_id, news, catalog, now, guard)
            done = Applied(
                done.transfers + one.transfers,
                done.loads + one.loads,
                done.campaigns | one.campaigns,
                {**done.older, **one.older},
            )
    return done


def _apply_tail(
    airline: Airline, tail_id: int, news: News, catalog: Catalog, now: datetime, guard: Callable[[], None]
) -> Applied:
    """Write `news` of the tail in one transaction, the change feed last. Raises Tail.DoesNotExist."""
    with transaction.atomic():
        tail = Tail.objects.select_for_update().get(pk=tail_id)
        tail.airline = airline
        loads = _opened(tail, news, catalog)
        transfers, older = _transfers(loads, news, now)
        changed = _loads(loads, news, {row.load_id for row in transfers}, now)
        anomalies.keep(airline, "status", news.problems, now)
        if _heard(tail, news) or changed or transfers:
            guard()
            summed = rollup.tails(Tail.objects.filter(pk=tail_id)).get()
            publish(
                [*map(transfer_published, transfers), *map(load_published, changed), tail_published(summed)],
            )
    campaigns = frozenset(load.campaign.name for load in changed)
    return Applied(len(transfers), len(changed), campaigns, {tail_id: older | _older(tail, loads, news)})


def tail_published(row: Tail) -> Published:
    """A tail from `rollup.tails`, as the feed takes it."""
    return Published("tail", row.pk, row.airline_id, tail=row.name, state=tail_state(row))


def transfer_published(row: Transfer) -> Published:
    """A transfer, as the feed takes it; its load, tail, campaign and airline must be loaded."""
    tail = row.load.tail
    return Published("transfer", row.pk, tail.airline_id, tail.name, row.load.campaign.name, transfer_state(row))


def load_published(row: Load) -> Published:
    """A load, as the feed takes it; its tail, campaign and airline must be loaded."""
    return Published("load", row.pk, row.tail.airline_id, row.tail.name, row.campaign.name, load_state(row))


def _opened(tail: Tail, news: News, catalog: Catalog) -> dict[str, _Open]:
    """The loads of which there is news, by campaign; those without a row get one."""
    wanted = [catalog.campaigns[name] for name in sorted(news.campaigns)]
    if not wanted:
        return {}
    rows = {row.campaign_id: row for row in Load.objects.filter(tail=tail, campaign__in=wanted)}
    fresh = {each.pk: Load(tail=tail, campaign=each) for each in wanted if each.pk not in rows}
    Load.objects.bulk_create(fresh.values())
    opened = {}
    for campaign in wanted:
        row = rows.get(campaign.pk) or fresh[campaign.pk]
        row.tail, row.campaign = tail, campaign
        new = campaign.pk in fresh
        sizes = catalog.sizes[campaign.name] if campaign.items_total is not None else {}
        opened[campaign.name] = _Open(row, new, new or row.manifest_etag != campaign.manifest_etag, sizes)
    return opened


def _transfers(loads: Mapping[str, _Open], news: News, now: datetime) -> tuple[list[Transfer], frozenset[Object]]:
    """Make and change the transfers of which there is news; the rows written, and the news that came too late."""
    rows = _rows(loads, news)
    items = news.progress.keys() | news.errors.keys() | rows.keys()
    items |= {(name, content) for name, load in loads.items() if load.whole for content in load.sizes}
    written: list[Transfer] = []
    older: set[Object] = set()
    for item in sorted(items):
        campaign, content = item
        load, row = loads[campaign], rows.get(item)
        progress, error = news.progress.get(item), news.errors.get(item)
        size = load.sizes.get(content)
        if row is None and size is None and not isinstance(progress, ProgressSeen) and not isinstance(error, ErrorSeen):
            continue  # Of a row deleted meanwhile.
        before = TransferState() if row is None else state_of(row)
        older |= _late(before, item, progress, error)
        after = advance(before, size, now, progress=progress, error=error)
        if row is None or after != before:
            written.append(_taken(row or Transfer(content=content), after, TRANSFER_FIELDS))
            written[-1].load = load.row
    _upsert(written, ["load", "content"], TRANSFER_FIELDS)
    return written, frozenset(older)


def _rows(loads: Mapping[str, _Open], news: News) -> dict[Item, Transfer]:
    """The transfers concerned: all of a load that is held against its manifest as a whole, else those named."""
    names = {content for _, content in (*news.progress, *news.errors)}
    whole = [load.row.pk for load in loads.values() if load.whole or len(names) > NAMES_A_QUERY]
    part = [load.row.pk for load in loads.values() if load.row.pk not in whole]
    campaigns = {load.row.pk: name for name, load in loads.items()}
    concerned = Q(load__in=whole)
    if part and names:
        concerned |= Q(load__in=part, content__in=names)
    elif not whole:
        return {}
    return {(campaigns[row.load_id], row.content): row for row in Transfer.objects.filter(concerned)}


def _late(
    before: TransferState,
    item: Item,
    progress: ProgressSeen | Again | Gone | None,
    error: ErrorSeen | Again | Gone | None,
) -> set[Object]:
    late: set[Object] = set()
    if isinstance(progress, ProgressSeen) and before.progress_at is not None and progress.at < before.progress_at:
        late.add(("progress", *item))
    if isinstance(error, ErrorSeen) and before.error_at is not None and error.at < before.error_at:
        late.add(("error", *item))
    return late


def _older(tail: Tail, loads: Mapping[str, _Open], news: News) -> set[Object]:
    """The same for heartbeat and campaign errors, whose rows by now hold the newest moment."""
    late: set[Object] = set()
    for campaign, seen in news.campaign_errors.items():
        at = loads[campaign].row.error_at
        if isinstance(seen, ErrorSeen) and at is not None and seen.at < at:
            late.add(("campaign_error", campaign, ""))
    beat = news.heartbeat
    if isinstance(beat, HeartbeatSeen) and tail.heartbeat_at is not None and beat.at < tail.heartbeat_at:
        late.add(("heartbeat", "", ""))
    return late


def _loads(loads: Mapping[str, _Open], news: News, touched: Collection[int], now: datetime) -> list[Load]:
    """Sum up the loads concerned and write those that are another now."""
    concerned = [
        (name, load)
        for name, load in loads.items()
        if load.whole or load.row.pk in touched or name in news.campaign_errors
    ]
    if not concerned:
        return []
    sums = _sums([load.row for _, load in concerned])
    failures = _failures([pk for pk, each in sums.items() if each.failed])
    moved = [load.row for _, load in concerned if sums[load.row.pk].bytes_done != load.row.bytes_done]
    speeds = _speeds(moved, sums, now)
    written = []
    for name, load in concerned:
        row, before = load.row, load_state_of(load.row)
        state = replace(before, manifest_etag=row.campaign.manifest_etag) if load.whole else before
        state = with_campaign_error(state, news.campaign_errors.get(name))
        after = judge(before, state, sums[row.pk], failures.get(row.pk), now, speeds.get(row.pk))
        if load.fresh or after != before:
            written.append(_taken(row, after, LOAD_FIELDS))
    _upsert(written, ["tail", "campaign"], LOAD_FIELDS)
    samples = [ProgressSample(load=row, at=now, bytes_done=row.bytes_done) for row in moved]
    ProgressSample.objects.bulk_create(samples, ignore_conflicts=True)
    return written


def _sums(rows: Collection[Load]) -> dict[int, Sums]:
    """What the transfers of each load add up to, in one query."""
    known = {row.pk: row.campaign.items_total is not None for row in rows}
    counted = Q(listed=True) | Q(load__in=[pk for pk, is_known in known.items() if not is_known])

    def how_many(**condition: Any) -> Count:
        return Count("pk", filter=counted & Q(**condition))

    found = (
        Transfer.objects.filter(load__in=known)
        .order_by()
        .values("load")
        .annotate(
            items=Count("pk", filter=counted),
            done=how_many(status=Status.COMPLETE),
            failed=how_many(status=Status.FAILED),
            loading=how_many(status=Status.LOADING),
            deleted=how_many(status=Status.DELETED),
            reported=Count("pk", filter=counted & ~Q(progress_etag="")),
            newest=Max("as_of", filter=counted),
            first=Min("started_at", filter=counted),
            last=Max("finished_at", filter=counted),
            **rollup.halves("sum_done", "bytes_done", counted, default=0),
            **rollup.halves("sum_total", "bytes_total", counted, default=0),
        )
    )
    sums = {row["load"]: _sum(row, known=known[row["load"]]) for row in found}
    return {pk: sums.get(pk) or Sums(bytes_total=0 if is_known else None) for pk, is_known in known.items()}


def _sum(row: Mapping[str, Any], *, known: bool) -> Sums:
    done = rollup.joined(row["sum_done_high"], row["sum_done_low"]) or 0
    total = rollup.joined(row["sum_total_high"], row["sum_total_low"]) or 0
    counts = {name: row[name] for name in ("items", "done", "failed", "loading", "deleted", "reported")}
    return Sums(
        **counts,
        bytes_done=done,
        bytes_total=total if known else None,
        as_of=row["newest"],
        started_at=row["first"],
        finished_at=row["last"],
    )


def _failures(loads: Collection[int]) -> dict[int, ItemError]:
    """The newest error among the failed items of each load."""
    if not loads:
        return {}
    failed = Transfer.objects.filter(load=OuterRef("pk"), status=Status.FAILED).order_by("-listed", "-error_at", "pk")
    newest = Load.objects.filter(pk__in=loads).annotate(newest=Subquery(failed.values("pk")[:1])).values("newest")
    rows = Transfer.objects.filter(pk__in=newest).values_list("load", "content", "error_code", "error")
    return {load: ItemError(content, code, text) for load, content, code, text in rows}


def _speeds(rows: Collection[Load], sums: Mapping[int, Sums], now: datetime) -> dict[int, int | None]:
    """The rate of each load over the last minute of change, the change of this moment included."""
    if not rows:
        return {}
    samples: dict[int, list[rates.Sample]] = {row.pk: [] for row in rows}
    recent = ProgressSample.objects.filter(load__in=samples, at__gt=now - rates.WINDOW, at__lt=now).order_by("at")
    for load, at, bytes_done in recent.values_list("load", "at", "bytes_done"):
        samples[load].append(rates.Sample(at, bytes_done))
    for row in rows:
        window = samples[row.pk]
        if not window and row.moved_at is not None and row.moved_at < now:
            window.append(rates.Sample(row.moved_at, row.bytes_done))
        window.append(rates.Sample(now, sums[row.pk].bytes_done))
    return {load: rates.over_window(window) for load, window in samples.items()}


def _heard(tail: Tail, news: News) -> bool:
    """Write what the tail itself said; whether anything is another now."""
    before = {name: getattr(tail, name) for name in HEARD_FIELDS}
    if news.heard_at is not None and (tail.heard_at is None or news.heard_at > tail.heard_at):
        tail.heard_at = news.heard_at
    if isinstance(news.heartbeat, HeartbeatSeen):
        _take_heartbeat(tail, news.heartbeat)
    elif news.heartbeat is not None and news.heartbeat.etag == tail.heartbeat_etag:
        _renew_heartbeat(tail, news.heartbeat)
    changed = [name for name, value in before.items() if getattr(tail, name) != value]
    if changed:
        tail.save(update_fields=changed)
    return bool(changed)


def _renew_heartbeat(tail: Tail, seen: Again | Gone) -> None:
    if isinstance(seen, Gone):
        tail.heartbeat_etag = ""
    elif tail.heartbeat_at is None or seen.at > tail.heartbeat_at:
        tail.heartbeat_at = seen.at


def _take_heartbeat(tail: Tail, seen: HeartbeatSeen) -> None:
    if tail.heartbeat_at is not None and seen.at < tail.heartbeat_at:
        return
    tail.heartbeat_etag, tail.heartbeat_at = seen.etag, seen.at
    beat = seen.heartbeat
    if beat is None:
        return  # What was last understood stays.
    tail.loader_version, tail.loader_state, tail.loader_reason = beat.loader[:100], beat.state[:20], beat.reason[:500]
    tail.rate_bps = beat.rate_bps
    tail.stores = [{"path": store.path, "total": store.total, "free": store.free} for store in beat.stores]
    tail.held = [
        {"campaign": held.campaign, "items": held.items, "bytes": held.bytes, "verified": held.verified}
        for held in beat.held
    ]


def state_of(row: Transfer) -> TransferState:
    """The transfer as the pure machine knows it."""
    return TransferState(**{name: getattr(row, name) for name in TRANSFER_FIELDS})


def load_state_of(row: Load) -> LoadState:
    """The load as the pure machine knows it."""
    return LoadState(**{name: getattr(row, name) for name in LOAD_FIELDS})


def _taken(row: R, state: TransferState | LoadState, names: Iterable[str]) -> R:
    for name in names:
        setattr(row, name, getattr(state, name))
    return row


def _upsert(rows: Collection[Measured], unique: list[str], updated: Collection[str]) -> None:
    """Insert or update in one statement for as many rows as fit it; they are told apart by `unique`, not by id."""
    if not rows:
        return
    for row in rows:
        row.pk = None
    model = type(next(iter(rows)))
    model._default_manager.bulk_create(rows, update_conflicts=True, unique_fields=unique, update_fields=updated)
