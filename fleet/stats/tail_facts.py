"""Facts of a tail that follow from its loads: its primary load, numbers by status, whether all are complete.

Stored in the tail's row, so that lists of tails need not search the loads. Touches these columns only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from django.db.models import Count, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from fleet.choices import Status
from fleet.models import Load, Tail
from fleet.state.precedence import in_state, primary_load_order
from fleet.stats import prepared
from ifeportal.bulk import json_rows, update, where_fk_in, where_pk_in


class TailFacts(NamedTuple):
    """Columns of a tail; the default is a tail without loads."""

    primary_load_id: int | None = None
    loads_loading: int = 0
    loads_failed: int = 0
    ready: bool = False


_COLUMNS: Final = TailFacts._fields
_NO_AIRLINE: Final = -1
_NONE_CHOSEN: Final = "[]"  # the parameter of a condition on no tails
NO_LOADS: Final = TailFacts()


def update_tail_facts(tails: Collection[int]) -> int:
    """Write the facts of these tails (by id) where they changed; return how many tails changed.

    The caller holds the locks of the tails.
    """
    if not tails:
        return 0
    _, chosen = json_rows(Tail, ["id"], ((pk,) for pk in tails))
    facts = _read_facts(prepared.fetch(_loads_of_tails, _NONE_CHOSEN, chosen))
    changed = _differing(Tail.objects.filter(where_pk_in(Tail, tails)), facts)
    update(Tail, _COLUMNS, [(pk, *facts) for pk, facts in changed.items()])
    return len(changed)


def outdated_tails(airline: int) -> set[int]:
    """Return the tails (by id) of an airline whose stored facts are wrong."""
    facts = _read_facts(prepared.fetch(_loads_of_airline, _NO_AIRLINE, airline))
    return set(_differing(Tail.objects.filter(airline=airline), facts))


def _differing(tails: QuerySet[Tail], facts: Mapping[int, TailFacts]) -> dict[int, TailFacts]:
    """Return the tails whose facts differ from the stored ones, with the right ones."""
    stored = tails.order_by().values_list("pk", *_COLUMNS)
    return {pk: facts.get(pk, NO_LOADS) for pk, *known in stored if facts.get(pk, NO_LOADS) != TailFacts(*known)}


def _read_facts(rows: Iterable[tuple[int, ...]]) -> dict[int, TailFacts]:
    """Return the facts by tail (id), from rows of `_counted`."""
    return {
        tail: TailFacts(pk, loading, failed, complete == total) for tail, pk, loading, failed, complete, total in rows
    }


def _loads_of_tails() -> QuerySet[Load, Any]:
    return _counted(Load.objects.filter(where_fk_in(Load, "tail", ())))


def _loads_of_airline() -> QuerySet[Load, Any]:
    return _counted(Load.objects.filter(tail__airline=_NO_AIRLINE))


def _counted(loads: QuerySet[Load]) -> QuerySet[Load, Any]:
    """Return the tails with loads that are not deleted: tail, primary load, loading, failed, complete, all loads."""

    def number(status: Status) -> Window:
        return Window(Count("pk", filter=Q(status=status)), partition_by="tail")

    ranked = loads.filter(in_state("")).annotate(
        place=Window(RowNumber(), partition_by="tail", order_by=primary_load_order()),
        loading=number(Status.LOADING),
        failed=number(Status.FAILED),
        complete=number(Status.COMPLETE),
        number=Window(Count("pk"), partition_by="tail"),
    )
    return ranked.filter(place=1).order_by().values_list("tail_id", "pk", "loading", "failed", "complete", "number")
