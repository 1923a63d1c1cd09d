"""Tidies the change feed of what the fleet's tables no longer have, and has open pages hear of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from django.db import transaction
from django.db.models import Model

from campaigns.models import Campaign
from fleet.models import Load, Tail, Transfer
from fleet.states import airline_state
from fleet.stats import rollup
from ifeportal.live.feed import Published, publish
from ifeportal.live.pruning import Pruned, prune
from ifeportal.models import Airline

MODELS: Final[Mapping[str, type[Model]]] = MappingProxyType(
    {"airline": Airline, "campaign": Campaign, "tail": Tail, "load": Load, "transfer": Transfer}
)


def prune_feed(*, alive: Callable[[], None] = lambda: None, guard: Callable[[], None] = lambda: None) -> Pruned:
    """Tell of objects that vanished, forget old tellings, and publish the sums of the airlines concerned anew."""
    done = prune(MODELS, alive=alive, guard=guard)
    if done.airlines:
        with transaction.atomic():
            rows = rollup.airlines(Airline.objects.filter(pk__in=done.airlines))
            changes = [Published("airline", row.pk, row.pk, state=airline_state(row)) for row in rows]
            guard()
            publish(changes)
    return done
