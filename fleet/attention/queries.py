"""What needs attention: loads that failed, stand, are silent, at risk or contradict themselves, and who has seen to it.

May touch loads, transfers and acknowledgements; only below airlines its caller has reached by `visible_to`. Loads of
tails out of service, archived loads and deleted ones need none, nor do those that fail because their campaign was
withdrawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from campaigns.models import Campaign
from fleet.attention.diagnosis import Cause, Fault, Kind, causes_of
from fleet.choices import Inconsistency, ServiceStatus, Status
from fleet.models import Acknowledgement, Load, Transfer
from ifeportal.bulk import where_in
from ifeportal.models import Airline, User

FAULTS_LIMIT: Final = 20_000  # failed items that are looked at; beyond, their loads are still listed
FAILED: Final = "failed"
_OPEN: Final = Q(status__in=[Status.PENDING, Status.LOADING, Status.FAILED])
# Of a withdrawn campaign this is what is to be: its objects and its manifest are gone on purpose.
_EXPECTED: Final = frozenset({"OBJECT_GONE", "UNSIGNED"})
_WITHDRAWN: Final = Q(campaign__withdrawn_at__isnull=False, error_code__in=_EXPECTED)
# What a load needs attention for, the weightiest first; a load is listed under each that holds.
WORDS: Final[Mapping[str, Q]] = {
    FAILED: Q(status=Status.FAILED),
    Kind.STALLED.value: Q(status=Status.LOADING, stalled=True, silent=False),
    Kind.SILENT.value: Q(tail__silent=True) & _OPEN,
    Kind.AT_RISK.value: Q(at_risk=True),
    Kind.CONTRADICTION.value: ~Q(contradiction=""),
}


@dataclass(frozen=True)
class Trouble:
    """A load that needs attention, for which words, and the acknowledgements that count, by word."""

    load: Load
    words: tuple[str, ...]
    acknowledged: Mapping[str, Acknowledgement]

    @property
    def is_open(self) -> bool:
        """Whether there is something that nobody has seen to."""
        return any(word not in self.acknowledged for word in self.words)


@dataclass(frozen=True)
class Group:
    """A cause with the rows of its loads."""

    cause: Cause
    troubles: Sequence[Trouble]

    @property
    def word(self) -> str:
        """What its loads are acknowledged for."""
        return self.cause.faults[0].word

    @property
    def is_open(self) -> bool:
        """Whether one of its loads has not been seen to."""
        return any(self.word not in trouble.acknowledged for trouble in self.troubles)

    @property
    def rows(self) -> list[tuple[Trouble, list[Fault], Acknowledgement | None]]:
        """Each load with its faults of this cause, and who has seen to it."""
        faults: dict[int, list[Fault]] = {}
        for fault in self.cause.faults:
            faults.setdefault(fault.load, []).append(fault)
        return [(each, faults[each.load.pk], each.acknowledged.get(self.word)) for each in self.troubles]


def needing(loads: QuerySet[Load]) -> QuerySet[Load]:
    """Those of the loads that need attention, whether somebody has seen to them or not.

    What the load says itself and what its tail says are asked for apart: for each there is an index of little else.
    """
    every, by_itself = Load.objects.order_by(), Q()
    for word, condition in WORDS.items():
        if word != Kind.SILENT.value:
            by_itself |= condition
    wanted = every.filter(by_itself).values("pk").union(every.filter(WORDS[Kind.SILENT.value]).values("pk"))
    counted = loads.filter(pk__in=wanted, tail__duty=ServiceStatus.ACTIVE, archived_at=None)
    return counted.exclude(Q(status=Status.DELETED) | _WITHDRAWN)


def open_count(loads: QuerySet[Load]) -> int:
    """How many of the loads need attention and have something that nobody has seen to; one query."""
    unseen = Q()
    for word, condition in WORDS.items():
        seen = Acknowledgement.objects.filter(load=OuterRef("pk"), state=word, withdrawn_at=None)
        if word == FAILED:
            seen = seen.filter(error_code=OuterRef("error_code"))
        unseen |= condition & Q(~Exists(seen))
    return needing(loads).filter(unseen).count()


def troubles(loads: QuerySet[Load], limit: int) -> list[Trouble]:
    """The loads that need attention, nearest exhibition first, at most `limit`; four queries."""
    rows = (
        needing(loads)
        .select_related("tail")
        .order_by("campaign__exhibition_starts", "tail__airline__name", "tail__name", "pk")[:limit]
    )
    found = list(rows)
    # Each made once: many loads are of few campaigns and airlines.
    campaigns = Campaign.objects.in_bulk({row.campaign_id for row in found})
    airlines = Airline.objects.in_bulk({row.tail.airline_id for row in found})
    for row in found:
        row.campaign, row.tail.airline = campaigns[row.campaign_id], airlines[row.tail.airline_id]
        row.campaign.airline = row.tail.airline
    seen = _acknowledged(found)
    return [
        Trouble(row, words, {word: seen[row.pk, word] for word in words if (row.pk, word) in seen})
        for row, words in zip(found, map(words_of, found), strict=True)
    ]


def words_of(load: Load) -> tuple[str, ...]:
    """What the load needs attention for, as `WORDS` has it; wants its tail loaded."""
    held = {
        FAILED: load.status == Status.FAILED,
        Kind.STALLED.value: load.status == Status.LOADING and load.stalled and not load.silent,
        Kind.SILENT.value: load.tail.silent and load.status in (Status.PENDING, Status.LOADING, Status.FAILED),
        Kind.AT_RISK.value: load.at_risk,
        Kind.CONTRADICTION.value: bool(load.contradiction),
    }
    return tuple(word for word in WORDS if held[word])


def _acknowledged(loads: Collection[Load]) -> dict[tuple[int, str], Acknowledgement]:
    """The newest acknowledgement that counts, by load and word."""
    if not loads:
        return {}
    codes = {load.pk: load.error_code for load in loads}
    rows = Acknowledgement.objects.filter(
        where_in(Acknowledgement, ["load_id"], ((pk,) for pk in codes)), withdrawn_at=None
    )
    return {
        (row.load_id, row.state): row
        for row in rows.order_by("at", "pk")
        if row.state != FAILED or row.error_code == codes[row.load_id]
    }


def groups_of(found: Collection[Trouble]) -> list[Group]:
    """The troubles under their likely causes; two queries for what has failed."""
    by_load = {trouble.load.pk: trouble for trouble in found}
    faults = [
        fault for trouble in found for word in trouble.words if word != FAILED for fault in [_whole(trouble, word)]
    ]
    failed = [trouble for trouble in found if FAILED in trouble.words]
    items = list(_items(failed)) if failed else []
    told = {fault.load for fault in items}
    faults += items
    faults += [_whole(trouble, FAILED) for trouble in failed if _has_own(trouble.load) or trouble.load.pk not in told]
    return [
        Group(cause, [by_load[pk] for pk in dict.fromkeys(fault.load for fault in cause.faults)])
        for cause in causes_of(faults)
    ]


def _has_own(load: Load) -> bool:
    """Whether the campaign as a whole has failed on this tail."""
    return bool(load.error_etag) and not load.error_content


def _whole(trouble: Trouble, word: str) -> Fault:
    load = trouble.load
    code, text = "", ""
    if word == FAILED:
        code, text = load.error_code, load.error
    elif word == Kind.CONTRADICTION.value:
        text = Inconsistency(load.contradiction).label
    return _fault(load, word, load.error_content if word == FAILED else "", code, text)


def _items(failed: Collection[Trouble]) -> Iterator[Fault]:
    """The failed items of these loads."""
    loads = {trouble.load.pk: trouble.load for trouble in failed}
    rows = Transfer.objects.filter(where_in(Transfer, ["load_id"], ((pk,) for pk in loads)), status=Status.FAILED)
    told = list(rows.filter(listed=True).values_list("load_id", "content", "error_code", "error")[:FAULTS_LIMIT])
    held = _held({(loads[load].campaign_id, content) for load, content, _, _ in told})
    for load, content, code, text in told:
        elsewhere = held.get((loads[load].campaign_id, content), 0)
        yield replace(_fault(loads[load], FAILED, content, code, text), held_elsewhere=elsewhere)


def _held(items: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """On how many tails each item of a campaign is complete."""
    campaigns, contents = {campaign for campaign, _ in items}, {content for _, content in items}
    whole = Transfer.objects.filter(load__campaign__in=campaigns, content__in=contents, status=Status.COMPLETE)
    counted = whole.order_by().values_list("load__campaign", "content").annotate(Count("pk"))
    return {(campaign, content): count for campaign, content, count in counted}


def _fault(load: Load, word: str, content: str, code: str, text: str) -> Fault:
    airline = load.tail.airline.name
    return Fault(load.pk, airline, load.tail.name, load.campaign.name, word, content, code, text)


def acknowledge(load: Load, word: str, user: User, note: str, now: datetime) -> Acknowledgement | None:
    """Note that `user` has seen what the load needs attention for; None if it no longer does."""
    if not needing(Load.objects.filter(pk=load.pk)).filter(WORDS[word]).exists():
        return None
    return Acknowledgement.objects.create(
        load=load,
        state=word,
        error_code=load.error_code if word == FAILED else "",
        note=note,
        user=user,
        who=user.get_username(),
        at=now,
    )


def withdraw(load: Load, word: str, now: datetime) -> int:
    """Let it need attention again; how many acknowledgements that took back."""
    return Acknowledgement.objects.filter(load=load, state=word, withdrawn_at=None).update(withdrawn_at=now)
