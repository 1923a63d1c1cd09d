"""Stored totals of campaigns and airlines: counted in every transaction that changes what they count.

The row of a campaign is counted again each time, so that an error cannot last. The rows of its items are incremented
(`fleet.stats.item_totals`). The row of an airline is the sum of its campaigns and the number of its tails. A writer
locks the tails it changes, then the totals of their airlines, then the feed, each in order of id: no two wait for each
other, and the second of two writers counts what the first has written. Touches totals and facts of tails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Count, F, Max, Q, QuerySet
from django.db.models.functions import Coalesce

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, State, Status, Verification
from fleet.models import AirlineTotals, CampaignTotals, LoadTotals, Tail
from fleet.stats import prepared, rollup
from fleet.stats.item_totals import NO_CHANGES, ItemChanges, add_item_changes, recount_items
from fleet.stats.tail_facts import outdated_tails, update_tail_facts
from ifeportal.bulk import json_rows, where_pk_in
from ifeportal.formatting import quantity
from ifeportal.models import Airline

PROOFS: Final = {f"proof_{level.value or 'claimed'}": level.value for level in Verification}
_COLUMNS: Final = tuple(each.name for each in LoadTotals._meta.local_fields)
_OF_TAILS: Final = ("tails", "tails_out")
_ONLY_AIRLINE: Final = ("ready", "newest_tail")
_NEWEST: Final = ("as_of", "newest_load")
_ZERO: Final = [tuple(each.get_default() for each in LoadTotals._meta.local_fields)]
_NO_ROW: Final = -1
_NONE_CHOSEN: Final = "[]"  # the parameter of a condition on no campaigns
CORRECTION_LIMIT: Final = 2_000  # characters


def update_totals(
    airlines: Collection[int],
    campaigns: Collection[int] = (),
    tails: Collection[int] = (),
    items: ItemChanges = NO_CHANGES,
) -> None:
    """Bring the totals up to date with what the transaction changed: the loads of these campaigns and tails (all ids).

    `airlines` are those of the campaigns and tails, and those whose tails changed otherwise. The caller holds the locks
    of the tails. Other writers of the same airlines wait from here to the commit.
    """
    update_tail_facts(tails)
    lock_totals(airlines)
    add_item_changes(items)
    _write_campaigns(campaigns)
    _write_airlines(airlines)


def lock_totals(airlines: Collection[int]) -> None:
    """Lock the totals of these airlines, of which some may have no row yet, until the transaction ends."""
    rows = AirlineTotals.objects.filter(airline__in=airlines).order_by("pk").select_for_update()
    missing = set(airlines).difference(rows.values_list("pk", flat=True))
    if missing:
        existing = Airline.objects.filter(pk__in=missing).order_by("pk").values_list("pk", flat=True)
        # A concurrent insert of the same row makes this one wait, then skip.
        AirlineTotals.objects.bulk_create([AirlineTotals(airline_id=pk) for pk in existing], ignore_conflicts=True)
        list(rows.values_list("pk", flat=True))


def recount(airline: int) -> list[str]:
    """Count all totals of an airline again, and correct them; return the names of the corrected rows.

    Waits for the writers of the airline, and they wait for this: for the time of one campaign at most, if the caller
    has opened no transaction.
    """
    wrong = outdated_tails(airline)
    corrected = _correct_tails(airline, wrong) if wrong else []
    for campaign, name in Campaign.objects.filter(airline=airline).order_by("pk").values_list("pk", "name"):
        corrected += _recount_campaign(airline, campaign, name)
    return corrected + _recount_airline(airline)


def record_check(airline: int, corrected: Collection[str], now: datetime) -> None:
    """Record that all totals of the airline were counted again, and which rows were corrected."""
    changes: dict[str, Any] = {"checked_at": now}
    if corrected:
        text = ", ".join(corrected)[:CORRECTION_LIMIT]
        changes |= {"corrected_at": now, "correction": text, "corrections": F("corrections") + len(corrected)}
    AirlineTotals.objects.filter(airline=airline).update(**changes)


def unchecked_airlines(since: datetime) -> list[Airline]:
    """Return the airlines whose totals were not counted again since then, the longest unchecked first."""
    unchecked = Q(totals=None) | Q(totals__checked_at=None) | Q(totals__checked_at__lt=since)
    return list(Airline.objects.filter(unchecked).order_by(F("totals__checked_at").asc(nulls_first=True), "pk"))


def _correct_tails(airline: int, tails: Collection[int]) -> list[str]:
    with transaction.atomic():
        locked = list(Tail.objects.filter(where_pk_in(Tail, tails)).locked().values_list("pk", flat=True))
        changed = update_tail_facts(locked)
        lock_totals([airline])
        _write_airlines([airline])
    return [quantity(changed, "tail")] if changed else []


def _recount_campaign(airline: int, campaign: int, name: str) -> list[str]:
    with transaction.atomic():
        lock_totals([airline])
        before = prepared.fetch(_stored_campaign, _NO_ROW, campaign) or _ZERO
        _write_campaigns([campaign])
        items = recount_items(campaign)
        corrected = [f"campaign {name}"] if prepared.fetch(_stored_campaign, _NO_ROW, campaign) != before else []
    return corrected + ([f"{quantity(items, 'item')} of {name}"] if items else [])


def _recount_airline(airline: int) -> list[str]:
    with transaction.atomic():
        lock_totals([airline])
        before = prepared.fetch(_stored_airline, _NO_ROW, airline)
        _write_airlines([airline])
        return ["airline"] if prepared.fetch(_stored_airline, _NO_ROW, airline) != before else []


def _stored_campaign() -> QuerySet[CampaignTotals, Any]:
    return CampaignTotals.objects.filter(pk=_NO_ROW).values_list(*_COLUMNS)


def _stored_airline() -> QuerySet[AirlineTotals, Any]:
    return AirlineTotals.objects.filter(pk=_NO_ROW).values_list(*_COLUMNS, *_ONLY_AIRLINE)


def _write_campaigns(campaigns: Collection[int]) -> None:
    """Count the loads of these campaigns and store the result; one statement."""
    if not campaigns:
        return
    sql, parameters = _campaign_statement(connection.vendor)
    _, chosen = json_rows(Campaign, ["id"], ((pk,) for pk in campaigns))
    with connection.cursor() as cursor:
        cursor.execute(sql, [chosen if each == _NONE_CHOSEN else each for each in parameters])


@cache
def _campaign_statement(vendor: str) -> tuple[str, tuple[Any, ...]]:
    """Return the statement for no campaigns."""
    sql, parameters = prepared.compile_once(_counted_campaigns, vendor)
    return _upsert(CampaignTotals, "campaign_id", _COLUMNS, sql), parameters


def _counted_campaigns() -> QuerySet[Campaign, Any]:
    """Return the id of each campaign (of none) with the values of `_COLUMNS`."""
    campaigns = Campaign.objects.filter(where_pk_in(Campaign, ()))
    in_service = Q(loads__tail__duty=ServiceStatus.ACTIVE)
    complete = in_service & Q(loads__status=Status.COMPLETE)
    sums = {
        **rollup.load_sums("loads__", in_service),
        "tails": Count("loads__pk", filter=in_service),
        "tails_out": Count("loads__pk", filter=~in_service & Q(loads__pk__isnull=False)),
        State.DELETED.value: Count("loads__pk", filter=in_service & Q(loads__status=Status.DELETED)),
        "newest_load": Coalesce(Max("loads__pk"), 0),
        **{name: Count("loads__pk", filter=complete & Q(loads__proof=level)) for name, level in PROOFS.items()},
    }
    counted = campaigns.order_by().values("pk").annotate(**{rollup.PREFIX + name: sums[name] for name in _COLUMNS})
    return counted.values_list("pk", *(rollup.PREFIX + name for name in _COLUMNS))


def _write_airlines(airlines: Collection[int]) -> None:
    """Add up the totals of these airlines' campaigns, count their tails, and store the result; one statement."""
    if not airlines:
        return
    chosen, text = json_rows(Airline, ["id"], ((pk,) for pk in airlines))
    with connection.cursor() as cursor:
        cursor.execute(_airline_statement(chosen), [*[ServiceStatus.ACTIVE.value] * 3, *[text] * 3])


@cache
def _airline_statement(chosen: str) -> str:
    """Return the statement; `chosen` selects the ids of the airlines."""
    summed = [name for name in _COLUMNS if name not in _OF_TAILS]
    optional = {name for name in summed if LoadTotals._meta.get_field(name).null}
    sums = (f"{'MAX' if name in _NEWEST else 'SUM'}(totals.{name}) AS {name}" for name in summed)
    values = (f"sums.{name}" if name in optional else f"COALESCE(sums.{name}, 0)" for name in summed)
    counts = (f"COALESCE(counts.{name}, 0)" for name in (*_OF_TAILS, *_ONLY_AIRLINE))
    # Only names of our own columns are inserted.
    select = f"""
SELECT airline.id, {", ".join((*values, *counts))}
  FROM {Airline._meta.db_table} AS airline
  LEFT JOIN (SELECT COUNT(*) FILTER (WHERE duty = %s) AS tails, COUNT(*) FILTER (WHERE duty <> %s) AS tails_out,
                    COUNT(*) FILTER (WHERE ready AND duty = %s) AS ready, MAX(id) AS newest_tail, airline_id
               FROM {Tail._meta.db_table} WHERE airline_id IN ({chosen}) GROUP BY airline_id
            ) AS counts ON counts.airline_id = airline.id
  LEFT JOIN (SELECT {", ".join(sums)}, airline_id
               FROM {CampaignTotals._meta.db_table} AS totals
               JOIN {Campaign._meta.db_table} AS campaign ON campaign.id = totals.campaign_id
              WHERE airline_id IN ({chosen}) GROUP BY airline_id
            ) AS sums ON sums.airline_id = airline.id
 WHERE airline.id IN ({chosen})
"""  # noqa: S608
    return _upsert(AirlineTotals, "airline_id", (*summed, *_OF_TAILS, *_ONLY_AIRLINE), select)


def _upsert(model: type[LoadTotals], key: str, columns: Iterable[str], select: str) -> str:
    """Return the statement that stores the rows of `select`: the key, then the columns."""
    columns = tuple(columns)
    table, sets = model._meta.db_table, ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join((key, *columns))}) {select} ON CONFLICT ({key}) DO UPDATE SET {sets}"
