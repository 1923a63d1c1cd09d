"""Keep the findings of loads that need attention, and their causes, in rows, so that pages only read them.

`keep` runs in the transaction that changes loads, transfers or tails, under the locks of the tails. The cause of a
failure depends on the other failures of the airline, so `regroup` compares all of them, also when totals are published:
an item may have been completed on another tail, or rows deleted. Writers of findings lock the airline's row first, as
the last lock before the feed's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from fleet.attention.diagnosis import FAILED, CauseKey, CauseKind, Finding, causes_of, decided_elsewhere
from fleet.attention.queries import EXPECTED, in_attention, needing_attention, reasons_of
from fleet.choices import Inconsistency, Status
from fleet.models import Acknowledgement, AttentionFinding, Load, Transfer
from ifeportal.bulk import update, upsert, where_fk_in, where_pk_in
from ifeportal.models import Airline

KEY: Final = ("load_id", "reason", "content")
OBSERVED: Final = ("airline_id", "tail_id", "code", "text", "acknowledgement_id")
CAUSE: Final = ("kind", "subject", "cause")
LOAD_COLUMNS: Final = (
    "status", "stalled", "silent", "at_risk", "contradiction", "error", "error_code", "error_content", "error_etag",
    "tail__airline__name", "tail__name", "tail__silent", "campaign__name",
)  # fmt: skip
FindingKey = tuple[int, str, str]  # load, reason, content


class Observed(NamedTuple):
    """What a finding says, without its cause: the columns `OBSERVED`."""

    airline: int
    tail: int
    code: str
    text: str
    acknowledgement: int | None


class Stored(NamedTuple):
    """A stored finding: its id, what it says, and its cause (the columns `CAUSE`)."""

    pk: int
    observed: Observed
    cause: tuple[str, str, str]


def keep(airline: int, tails: Collection[int]) -> None:
    """Store the findings of all loads of these tails, as their rows are now. Call it inside the transaction.

    `airline` and `tails` are ids. One statement if no load needs attention and none did.
    """
    if not tails:
        return
    loads = in_attention(Load.objects.filter(tail__in=tails))
    stored = AttentionFinding.objects.filter(tail__in=tails)
    if _lock({airline}, Exists(loads.order_by()) | Exists(stored.order_by())):
        _store(loads, stored)


def keep_campaigns(airline: int, campaigns: Collection[int]) -> None:
    """Store the findings of the loads of these campaigns (ids) whose errors depend on whether it is withdrawn."""
    failing = Load.objects.filter(campaign__in=campaigns, error_code__in=EXPECTED) if campaigns else Load.objects.none()
    with transaction.atomic():
        keep(airline, set(failing.order_by().values_list("tail", flat=True)))


def keep_acknowledgement(load: Load, reason: str, row: Acknowledgement | None) -> None:
    """Store that the load is acknowledged, or no longer, for that reason. Lock its airline before, with `lock_load`."""
    findings = AttentionFinding.objects.filter(load=load, reason=reason)
    if row is not None and reason == FAILED:
        findings = findings.filter(load__error_code=row.error_code)
    findings.update(acknowledgement=row)


def lock_load(load: Load) -> None:
    """Lock the findings of the load's airline until the transaction ends."""
    _lock({load.tail.airline_id})


def regroup(airlines: Iterable[int]) -> int:
    """Store the causes of failures that differ from the stored ones; return how many did. `airlines` are ids."""
    differing = {airline for airline in airlines if _regrouped(airline)}
    if not differing:
        return 0
    with transaction.atomic():
        _lock(differing)
        return sum(map(_regroup_locked, sorted(differing)))


def _regroup_locked(airline: int) -> int:
    rows = _regrouped(airline)
    update(AttentionFinding, CAUSE, rows)
    return len(rows)


def recount(airlines: QuerySet[Airline]) -> dict[str, int]:
    """Compare all findings of these airlines with their loads, and correct them. Return the corrections by airline."""
    corrections: Counter[str] = Counter()
    for pk, name in airlines.order_by("pk").values_list("pk", "name"):
        with transaction.atomic():
            _lock({pk})
            loads = needing_attention(Load.objects.filter(tail__airline=pk))
            corrections[name] += _store(loads, AttentionFinding.objects.filter(airline=pk))
            corrections[name] += _regroup_locked(pk)
    return dict(+corrections)


def _lock(airlines: Collection[int], condition: Exists | Q | None = None) -> bool:
    """Lock the rows of the airlines for which the condition holds; return whether there are any."""
    rows = Airline.objects.select_for_update(no_key=True).filter(pk__in=airlines)
    rows = rows if condition is None else rows.filter(condition)
    return bool(rows.order_by("pk").values_list("pk", flat=True))


def _store(loads: QuerySet[Load], findings: QuerySet[AttentionFinding]) -> int:
    """Replace the findings by those of the loads; return how many differed. The airlines are locked."""
    rows = list(loads.select_related("tail__airline", "campaign").only(*LOAD_COLUMNS).order_by("pk"))
    observed, stored = _observe(rows), _stored(findings)
    changed = {key: row for key, row in observed.items() if key not in stored or stored[key].observed != row}
    gone = {key: row for key, row in stored.items() if key not in observed}
    if gone:
        AttentionFinding.objects.filter(where_pk_in(AttentionFinding, [row.pk for row in gone.values()])).delete()
    causes = _flag_causes(changed, {row.pk: row for row in rows})
    written = [
        (*key, *row, *(causes.get(key) or (stored[key].cause if key in stored else ("", "", ""))))
        for key, row in changed.items()
    ]
    upsert(AttentionFinding, KEY, [*OBSERVED, *CAUSE], written)
    failed = {row.airline for key, row in changed.items() if key[1] == FAILED}
    failed |= {row.observed.airline for key, row in gone.items() if key[1] == FAILED}
    for airline in sorted(failed):
        _regroup_locked(airline)
    return len(changed) + len(gone)


def _stored(findings: QuerySet[AttentionFinding]) -> dict[FindingKey, Stored]:
    rows = findings.order_by().values_list("pk", *KEY, *OBSERVED, *CAUSE)
    start = 1 + len(KEY)
    end = start + len(OBSERVED)
    return {row[1:start]: Stored(row[0], Observed(*row[start:end]), row[end:]) for row in rows}


def _observe(rows: Collection[Load]) -> dict[FindingKey, Observed]:
    """Return the findings of these loads; up to two queries."""
    reasons = {row.pk: reasons_of(row) for row in rows}
    failed = {row.pk: row for row in rows if FAILED in reasons[row.pk]}
    acknowledged = _acknowledged(rows)
    items = list(_failed_items(failed)) if failed else []
    with_items = {load for load, *_ in items}
    found = [
        (row.pk, reason, "", "", _text(row, reason)) for row in rows for reason in reasons[row.pk] if reason != FAILED
    ]
    found += [(load, FAILED, content, code, text) for load, content, code, text in items]
    found += [
        (row.pk, FAILED, row.error_content, row.error_code, row.error)
        for row in failed.values()
        if _has_own_error(row) or row.pk not in with_items
    ]
    by_id = {row.pk: row for row in rows}
    return {
        (load, reason, content): Observed(
            by_id[load].tail.airline_id, by_id[load].tail_id, code, text, acknowledged.get((load, reason))
        )
        for load, reason, content, code, text in found
    }


def _text(load: Load, reason: str) -> str:
    return str(Inconsistency(load.contradiction).label) if reason == CauseKind.CONTRADICTION else ""


def _has_own_error(load: Load) -> bool:
    """Return whether the error is of the campaign and not of one of its items."""
    return bool(load.error_etag) and not load.error_content


def _failed_items(failed: Collection[int]) -> Iterator[tuple[int, str, str, str]]:
    rows = Transfer.objects.filter(where_fk_in(Transfer, "load", failed), status=Status.FAILED, listed=True)
    return rows.order_by().values_list("load_id", "content", "error_code", "error").iterator()


def _acknowledged(loads: Collection[Load]) -> dict[tuple[int, str], int]:
    """Return the id of the newest current acknowledgement by load and reason."""
    if not loads:
        return {}
    codes = {load.pk: load.error_code for load in loads}
    rows = Acknowledgement.objects.filter(where_fk_in(Acknowledgement, "load", codes), withdrawn_at=None)
    return {
        (load, reason): pk
        for pk, load, reason, code in rows.order_by("at", "pk").values_list("pk", "load_id", "state", "error_code")
        if reason != FAILED or code == codes[load]
    }


def _flag_causes(
    changed: Mapping[FindingKey, Observed], loads: Mapping[int, Load]
) -> dict[FindingKey, tuple[str, str, str]]:
    """Return the causes of findings that are not errors, which depend on nothing else."""
    flags = [key for key in changed if key[1] != FAILED]
    found = []
    for key in flags:
        load = loads[key[0]]
        names = load.tail.airline.name, load.tail.name, load.campaign.name
        found.append(Finding(load.pk, *names, key[1], text=changed[key].text))
    return {key: _columns(cause) for key, cause in zip(flags, causes_of(found), strict=True)}


def _columns(key: CauseKey) -> tuple[str, str, str]:
    return key.kind.value, key.subject, key.digest


def _regrouped(airline: int) -> list[tuple[int, str, str, str]]:
    """Return id and cause of the failures of an airline whose stored cause differs; at most two queries."""
    failures = AttentionFinding.objects.filter(airline=airline, reason=FAILED).order_by("pk")
    columns = ("load_id", "airline__name", "tail__name", "load__campaign__name", "reason", "content", "code")
    rows = list(failures.values_list("pk", *CAUSE, *columns))
    findings = [Finding(*row[4:]) for row in rows]
    lone = {rows[index][0]: index for index in decided_elsewhere(findings)}
    if lone:
        complete = Transfer.objects.filter(
            load__campaign=OuterRef("load__campaign"), content=OuterRef("content"), status=Status.COMPLETE
        )
        for pk in failures.filter(where_pk_in(AttentionFinding, lone), Exists(complete)).values_list("pk", flat=True):
            findings[lone[pk]] = replace(findings[lone[pk]], complete_elsewhere=True)
    causes = [_columns(cause) for cause in causes_of(findings)]
    return [(row[0], *cause) for row, cause in zip(rows, causes, strict=True) if row[1:4] != cause]
